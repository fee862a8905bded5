"""A server that is away, wrong or hostile: one line, or a row that says what happened."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import ServerError
from harness.runs.plan import RunOptions
from harness.runs.run import run_cases
from harness.schema.case import Case, save_case
from harness.schema.result import Verdict
from harness.systems import server_client
from tests.systems.reference_server import ReferenceServer

MakeCases = Callable[[int], list[Case]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on a server soon."""
    defaults = {"patience": 0.3}
    monkeypatch.setattr(server_client.ServerClient.__init__, "__kwdefaults__", defaults)


def run(server: ReferenceServer | str, cases: list[Case], out: Path, **options: Any) -> Any:
    url = server if isinstance(server, str) else server.url
    return run_cases(cases, out=out, options=RunOptions(device="cpu", server=url, **options))


def failing(*statuses: int, on: str = "/v1/requests") -> Callable[[str], int | None]:
    """Answer what begins with ``on`` with these statuses, one after the other, then as always."""
    left: Iterator[int] = iter(statuses)
    return lambda path: next(left, None) if path.startswith(on) else None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "cannot be reached"),
        ("ftp://127.0.0.1", "is no address; give http://HOST:PORT"),
        ("127.0.0.1:8000", "is no address"),
        ("http://", "is no address"),
    ],
)
def test_no_server_is_one_line_at_once(make_cases: MakeCases, tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ServerError, match=said):
        run(url, make_cases(1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("status", [500, 502, 503, 429])
@pytest.mark.parametrize("on", ["/v1/inference", "/v1/requests"])
def test_a_server_that_is_out_of_order_for_a_moment_is_asked_again(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path, on: str, status: int
) -> None:
    server.fault = failing(status, status, on=on)
    (row,) = run(server, make_cases(1), tmp_path / "run").rows
    assert row.verdict is not Verdict.ERROR


def test_a_server_that_stays_away_ends_the_run_which_goes_on_later(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    cases = make_cases(3)
    server.fault = lambda path: 503 if path == "/v1/inference" and len(server.posts) == 2 else None
    with pytest.raises(ServerError, match=r"was away for 0.3 s \(it answered 503\); repeat the command"):
        run(server, cases, tmp_path / "run")
    server.fault = lambda _path: None
    assert len(run(server, cases, tmp_path / "run").rows) == 3
    assert len(server.posts) == 3, "finished rows are not asked for again"


def cut(image: dict[str, Any]) -> None:
    file = Path(image["file_path"])
    file.write_bytes(file.read_bytes()[:700])


def remove(image: dict[str, Any]) -> None:
    Path(image["file_path"]).unlink()


def climb(image: dict[str, Any]) -> None:
    image["file_path"] = "/../../etc/passwd"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "is truncated or cannot be read"),
        (remove, "is no file here; mount the server's file system"),
        (lambda image: image.update(width=96), "the server's image is 128×128, it says 96×128"),
        (lambda image: image.update(file_path=__file__), "is not an image"),
        (lambda image: image.update(file_path="http://127.0.0.1:9/image.jpg"), "is on another server"),
        (lambda image: image.update(file_path="file:///etc/passwd"), "is on another server"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_used_is_an_error_of_its_case(
    server: ReferenceServer,
    make_cases: MakeCases,
    tmp_path: Path,
    spoil: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    server.spoil = spoil
    result = run(server, make_cases(1), tmp_path / "run")
    assert result.exit_code == 3
    assert result.rows[0].verdict is Verdict.ERROR
    assert said in result.rows[0].reason


def test_a_server_with_a_root_of_its_own(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    server.root = tmp_path
    cases = make_cases(1)
    with pytest.raises(
        ServerError, match="refuses POST /v1/inference with 400: LORA_NOT_FOUND: LoRA file not"
    ):
        run(server, cases, tmp_path / "run")
    (row,) = run(server, cases, tmp_path / "run", server_root=tmp_path).rows
    assert row.verdict is not Verdict.ERROR
    server.spoil = climb
    (row,) = run(server, cases, tmp_path / "climbs", server_root=tmp_path).rows
    assert "the server's image /../../etc/passwd is not below --server-root" in row.reason


def test_a_lora_outside_the_root_is_one_line(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(Exception, match="is not below --server-root"):
        run(server, make_cases(1), tmp_path / "run", server_root=tmp_path / "elsewhere")
    assert server.posts == []


def test_an_image_at_a_url_is_fetched(server: ReferenceServer, make_cases: MakeCases, tmp_path: Path) -> None:
    def serve(image: dict[str, Any]) -> None:
        image["file_path"] = f"{server.url}/files/{Path(image['file_path']).name}"

    cases = make_cases(1)
    (plain,) = run(server, cases, tmp_path / "plain").rows
    server.spoil = serve
    (fetched,) = run(server, cases, tmp_path / "fetched").rows
    assert fetched.image_sha256 == plain.image_sha256


def test_a_render_that_fails_there_is_an_error_here(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.renderer, "render", lambda *_: 1 / 0)
    (row,) = run(server, make_cases(1), tmp_path / "run").rows
    assert (row.verdict, "the server says failed: division by zero" in row.reason) == (Verdict.ERROR, True)


def test_an_answer_of_something_else_is_one_line(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    server.fault = lambda path: 200 if path == "/v1/models" else None
    with pytest.raises(ServerError, match="answered /v1/models with something else than the API describes"):
        run(server, make_cases(1), tmp_path / "run")


def test_a_model_that_is_not_served_is_one_line_before_anything_is_written(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    (case,) = make_cases(1)
    other = save_case(case.model_copy(update={"model": "flex1"}), case.folder / "s000.case.yaml")
    with pytest.raises(ServerError, match="serves no flex1, only flex2"):
        run(server, [other], tmp_path / "run")
    assert server.posts == []
    assert not (tmp_path / "run").exists()


def test_a_token_is_sent_and_never_stored(
    make_cases: MakeCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    token = "a-very-private-word-1234"
    make_cases(1)
    server = ReferenceServer(tmp_path / "outputs", token=token)
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("harness")
    monkeypatch.setattr(logger, "level", logger.level)  # -vv sets both for the whole process
    monkeypatch.setattr(logger, "handlers", [*logger.handlers])

    def harness(variable: str) -> int:
        arguments = ["run", "cases", "--out", "run", "--server", server.url, "--device", "cpu", "-vv"]
        header = ["--server-header", f"X-Token={variable}"]
        monkeypatch.setattr(sys, "argv", ["harness", *arguments, *header])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    try:
        assert harness("NO_SUCH_VARIABLE") == 2
        assert "variable 'NO_SUCH_VARIABLE' is not set" in capfd.readouterr().err
        monkeypatch.setenv("SERVER_TOKEN", token)
        assert harness("SERVER_TOKEN") in (0, 1)
        server.token = "another"
        assert harness("SERVER_TOKEN") == 2
    finally:
        server.close()
    printed = capfd.readouterr()
    assert "401" in printed.err
    assert token not in printed.out + printed.err
    for folder, _, names in os.walk(tmp_path / "run"):
        for name in names:
            assert token.encode() not in (Path(folder) / name).read_bytes()

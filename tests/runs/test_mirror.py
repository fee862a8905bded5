"""A run's copy at a URL: at any moment it is a run that can go on; what cannot be a copy is said."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.core import url_to_fs
from fsspec.implementations.memory import MemoryFileSystem

from harness.errors import CopyError, LoraError, RunError
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs import mirror as copying
from harness.runs.folder import MANIFEST, RESULTS, RunFolder, parse_rows, read_rows, write_rows
from harness.runs.mirror import Mirror
from harness.runs.plan import RunOptions
from harness.runs.results import RunResult, load_run
from harness.runs.run import run_cases
from harness.schema.case import Case
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row

MakeCase = Callable[..., Case]
MakeRow = Callable[..., Row]
IDENTITY = {"cases": ["small/a"], "device": "cpu"}


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty place: a folder that does not exist yet, or one in fsspec's memory."""
    yield f"file://{tmp_path}/there/run" if request.param == "file" else "memory://bucket/run"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


class Stopping:
    """The reference pipeline, which ends before the render of the seed that is named."""

    def __init__(self, at: int | None = None, by: BaseException | None = None) -> None:
        self._real, self._at = ReferenceRenderer(device="cpu"), at
        self._by = by or KeyboardInterrupt()
        self.seeds: list[int] = []

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request.seed == self._at:
            raise self._by
        self.seeds.append(request.seed)
        return self._real.render(request, on_step)

    def close(self) -> None:
        self._real.close()


def there(url: str) -> dict[str, bytes]:
    """Every file at ``url`` and what it holds."""
    fs, root = url_to_fs(url)
    return {path.removeprefix(f"{root}/"): fs.cat_file(path) for path in fs.find(root)}


def put(url: str, data: bytes = b"precious") -> None:
    fs, path = url_to_fs(url)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, data)


def visible(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def run(cases: list[Case], out: Path, url: str, renderer: Any = None, **options: Any) -> RunResult:
    asked = RunOptions(**{"device": "cpu", "copy_to": url, **options})
    return run_cases(cases, out=out, options=asked, renderer=renderer)


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def seeded(make_case: MakeCase, count: int) -> list[Case]:
    return [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(count)]


def opened(folder: Path, url: str, **identity: Any) -> tuple[RunFolder, Mirror]:
    copy = Mirror(folder, url)
    copy.check({**IDENTITY, **identity})
    return RunFolder(folder, {**IDENTITY, **identity}, {"created": "today"}, copy.fetch), copy


def send(folder: Path, url: str, *rows: Row) -> None:
    """Add rows to the run in ``folder`` and bring it to ``url``."""
    run_folder, copy = opened(folder, url)
    with run_folder, copy:
        for row in rows:
            run_folder.append(row)


def test_a_run_goes_on_on_another_machine_from_its_copy(
    make_case: MakeCase, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "EVERY", 0.01)
    cases, lost = seeded(make_case, 3), Stopping(at=2)
    render, (fs, root) = lost.render, url_to_fs(url)

    def rows_there() -> int:
        path = f"{root}/{RESULTS}"
        return int(fs.cat_file(path).count(b"\n")) if fs.exists(path) else 0

    def after_the_copy(request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request.seed == 2:  # the machine is lost once two rows are there
            wait_for(lambda: rows_there() == 2)
        return render(request, on_step)

    monkeypatch.setattr(lost, "render", after_the_copy)
    with pytest.raises(KeyboardInterrupt):
        run(cases, tmp_path / "run", url, lost)
    assert lost.seeds == [0, 1]
    for thread in threading.enumerate():
        if thread.name == "copy":
            thread.join()
    first = (tmp_path / "run" / MANIFEST).read_bytes()
    shutil.rmtree(tmp_path / "run")

    rest = Stopping()
    result = run(cases, tmp_path / "fresh", url, rest)
    assert rest.seeds == [2]
    assert [row.case for row in result.rows] == ["small/s0", "small/s1", "small/s2"]
    assert (tmp_path / "fresh" / RESULTS).read_bytes().count(b"\n") == 3
    assert (tmp_path / "fresh" / MANIFEST).read_bytes() == first
    for row in result.rows:
        assert (tmp_path / "fresh" / str(row.images.rerun)).is_file()
    assert there(url) == visible(tmp_path / "fresh")

    nothing = Stopping()
    assert run(cases, tmp_path / "third", url, nothing).rows == result.rows
    assert nothing.seeds == []


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_copy_is_no_part_of_what_the_run_is(make_case: MakeCase, tmp_path: Path, url: str) -> None:
    options = RunOptions(copy_to="ftp://me:secret@host/run")
    assert options.identity() == RunOptions().identity()
    assert options.reaching() == RunOptions().reaching()
    assert "secret" not in repr(options)
    cases = [make_case("a", incomparable="pruned")]
    run(cases, tmp_path / "run", url)
    assert url.encode() not in b"".join(visible(tmp_path / "run").values())
    assert run_cases(cases, out=tmp_path / "run", options=replace(options, device="cpu", copy_to=None)).rows


@pytest.mark.parametrize("url", ["memory"], indirect=True)
def test_rows_go_after_their_images_and_as_whole_lines(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copy = opened(tmp_path / "run", url)
    folder.append(make_row("a"))
    image = folder.image_folder(".job/a", "reference") / "rerun.png"
    image.write_bytes(b"image")
    image.with_name(".waiting.safetensors").write_bytes(b"render")
    image.with_name(".rerun.png.part").write_bytes(b"ima")
    with (tmp_path / "run" / RESULTS).open("ab") as stream:
        stream.write(b'{"case": "small/b", "ver')
    real, sent = MemoryFileSystem.pipe_file, []

    def piped(fs: MemoryFileSystem, path: str, value: bytes, **more: Any) -> None:
        sent.append(set(there(url)))
        with (tmp_path / "run" / RESULTS).open("ab") as stream:
            stream.write(b"while the copy is made")
        real(fs, path, value, **more)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", piped)
    copy.send()
    assert sent == [{MANIFEST, "images/.job/a/reference/rerun.png"}], "rows go last"
    assert [row.case for row in parse_rows(there(url)[RESULTS], url)] == ["small/a"]
    assert there(url)[RESULTS].endswith(b"}\n")
    copy.send()
    assert len(sent) == 2, "the rows changed since they were read"
    folder.__exit__(None, None, None)


def test_only_what_changed_is_sent_again(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    real = Mirror._put

    def put_noted(copy: Mirror, names: list[str]) -> None:
        sent.extend(Path(name).name for name in names)
        real(copy, names)

    monkeypatch.setattr(Mirror, "_put", put_noted)
    folder, copy = opened(tmp_path / "run", url)
    with folder:
        (folder.image_folder(".job/a", "reference") / "rerun.png").write_bytes(b"image")
        folder.append(make_row("a"))
        copy.send()
        assert sent == [MANIFEST, "rerun.png"]
        (tmp_path / "run" / "index.html").write_text("report")
        Mirror(tmp_path / "run", url).send()
        assert sent[2:] == ["index.html"]
    fs, root = url_to_fs(url)
    fs.rm_file(f"{root}/images/.job/a/reference/rerun.png")
    folder, copy = opened(tmp_path / "run", url)
    with folder:
        copy.send()
    assert sent[3:] == ["rerun.png"], "what is gone there is missing there"
    other = f"{url}2"
    folder, copy = opened(tmp_path / "run", other)
    with folder:
        copy.send()
    assert there(other) == there(url) == visible(tmp_path / "run")


def refused(out: Path, url: str, kind: type[RunError] = RunError, **identity: Any) -> str:
    with pytest.raises(kind) as caught:
        opened(out, url, **identity)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("backup", "--copy-to: no URL that fsspec knows: 'backup'; give one such as s3://bucket/nights/1"),
        ("s3:/bucket", "--copy-to: no URL that fsspec knows: 's3:/bucket'"),
        ("nope://me:secret@host/x", "--copy-to: no URL that fsspec knows: 'nope://…@host/x'"),
        ("file:///dev/null/x", "file:///dev/null/x: --copy-to: cannot be written (Not a directory)"),
        (
            "ftp://me:secret@127.0.0.1:1/x",
            "ftp://…@127.0.0.1:1/x: --copy-to: cannot be used (Connection refused)",
        ),
    ],
)
def test_what_is_no_place_for_a_copy(tmp_path: Path, asked: str, said: str) -> None:
    line = refused(tmp_path / "run", asked)
    assert line.startswith(said)
    assert "secret" not in line
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    line = refused(tmp_path / "run", "s3://key:se/cret@bucket/run")
    assert line.startswith("s3://…@bucket/run: --copy-to: needs a package: ")
    assert line.endswith("; pip install s3fs")


def test_a_reason_does_not_say_the_password() -> None:
    error = OSError("530 login of me with p@ss or p%40ss failed")
    assert copying._reason(error, "ftp://me:p%40ss@host/x") == "530 login of me with … or … failed"


def test_a_place_that_holds_something_else_stays_as_it_is(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    put(f"{url}/thesis.txt")
    assert "--copy-to: is not empty and holds no run; name an empty place" in refused(tmp_path / "run", url)
    assert there(url) == {"thesis.txt": b"precious"}
    assert not (tmp_path / "run").exists()


def test_a_place_that_holds_another_run_stays_as_it_is(tmp_path: Path, url: str, make_row: MakeRow) -> None:
    send(tmp_path / "run", url, make_row("a"))
    before = there(url)
    line = refused(tmp_path / "other", url, device="cuda")
    assert line.startswith(f"{url}: --copy-to: holds another run: device differ")
    assert there(url) == before
    assert not (tmp_path / "other").exists()
    put(f"{url}/{MANIFEST}", b"{")
    assert "run.json cannot be read" in refused(tmp_path / "other", url)


def test_rows_that_only_the_copy_has_are_not_lost(tmp_path: Path, url: str, make_row: MakeRow) -> None:
    send(tmp_path / "run", url, make_row("a"))
    shutil.copytree(tmp_path / "run", tmp_path / "older")
    send(tmp_path / "run", url, make_row("b"))
    before = there(url)
    assert f"holds 1 rows that {tmp_path / 'older'} lacks" in refused(tmp_path / "older", url)
    assert there(url) == before


def test_a_row_that_another_machine_made_again_is_not_overwritten(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    send(tmp_path / "run", url, make_row("a"))
    send(tmp_path / "other", url, make_row("a").model_copy(update={"reason": "judged anew"}))
    before = there(url)
    assert "holds 1 rows that" in refused(tmp_path / "run", url)
    assert there(url) == before


def test_rows_that_were_judged_again_here_replace_those_there(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    send(tmp_path / "run", url, make_row("a"))
    write_rows(tmp_path / "run", [make_row("a").model_copy(update={"reason": "judged anew"})])
    send(tmp_path / "run", url)
    assert there(url) == visible(tmp_path / "run")


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_an_image_that_is_sent_again_is_never_half_there(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copy = opened(tmp_path / "run", url)
    image = folder.image_folder("small/a", "reference") / "rerun.png"
    with folder, copy:
        image.write_bytes(b"image")
        folder.append(make_row("a"))
        copy.send()
        before = there(url)
        image.write_bytes(b"another image")

        def cut(_source: Path, target: Path) -> None:
            target.write_bytes(b"ano")
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(copying.shutil, "copyfile", cut)
            with pytest.raises(CopyError):
                copy.send()
        assert {name: data for name, data in there(url).items() if "/." not in f"/{name}"} == before
    fetched, _ = opened(tmp_path / "fresh", url)
    with fetched:
        assert visible(tmp_path / "fresh") == visible(tmp_path / "run")


def test_sending_that_fails_on_the_way_is_told_once_and_tried_again(
    tmp_path: Path, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "EVERY", 0.01)
    url, told = f"file://{tmp_path}/there", list[str]()
    copy = Mirror(tmp_path / "run", url, told.append)
    copy.check(IDENTITY)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with RunFolder(tmp_path / "run", IDENTITY, {}, copy.fetch) as folder, copy:
        with monkeypatch.context() as patched:
            patched.setattr(copying.shutil, "copyfile", full)
            wait_for(lambda: len(told) == 1)
            folder.append(make_row("a"))
            time.sleep(0.1)
        wait_for(lambda: len(told) == 2)
    assert "is not complete (No space left on device); it is tried again" in told[0]
    assert told[1] == "--copy-to: sending works again"
    assert there(url) == visible(tmp_path / "run")


def test_a_password_is_not_left_on_disk_and_a_damaged_note_is_no_note(
    tmp_path: Path, make_row: MakeRow
) -> None:
    url = "memory://me:secret@bucket/run"
    send(tmp_path / "run", url, make_row("a"))
    note = tmp_path / "run" / copying.SENT
    assert "secret" not in note.read_text()
    for damaged in ('{"files": {"run.json": 1}}', "[" * 100_000, "[]", '{"url": 1, "files": [], "rows": 2}'):
        note.write_text(damaged)
        with opened(tmp_path / "run", url)[0]:
            pass
    MemoryFileSystem.store.clear()


@pytest.mark.parametrize("url", ["memory"], indirect=True)
def test_names_that_lead_out_of_the_folder_are_not_fetched(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    send(tmp_path / "run", url, make_row("a"))
    for name in ("images/../../out", "/absolute", "images//empty", ".hidden"):
        MemoryFileSystem.store[f"/bucket/run/{name}"] = MemoryFileSystem.store[f"/bucket/run/{RESULTS}"]
    folder, _ = opened(tmp_path / "a" / "b", url)
    with folder:
        assert set(visible(tmp_path / "a")) == {f"b/{MANIFEST}", f"b/{RESULTS}"}
        assert not (tmp_path / "a" / "b" / ".hidden").exists()


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_place_in_or_around_the_run_folder_is_refused(tmp_path: Path, url: str) -> None:
    for place in ("run", "run/copy", ""):
        line = refused(tmp_path / "run", f"file://{tmp_path}/{place}")
        assert "--copy-to: overlaps the run folder" in line


def test_a_copy_that_fails_at_the_end_leaves_the_run_whole(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, cases = f"file://{tmp_path}/there", [make_case("a")]

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "_put", full)
        with pytest.raises(CopyError) as caught:
            run(cases, tmp_path / "run", url)
    assert str(caught.value) == (
        f"{url}: --copy-to: is not complete (No space left on device); {tmp_path}/run holds the "
        f"whole run: repeat the command with --out {tmp_path}/run, which sends what is missing"
    )
    assert len(load_run(tmp_path / "run").rows) == 1
    nothing = Stopping()
    run(cases, tmp_path / "run", url, nothing)
    assert nothing.seeds == []
    assert there(url) == visible(tmp_path / "run")


def test_a_fetch_that_is_cut_off_is_made_again(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copy = opened(tmp_path / "run", url)
    with folder, copy:
        (folder.image_folder(".job/a", "reference") / "rerun.png").write_bytes(b"image")
        folder.append(make_row("a"))
    fs = type(url_to_fs(url)[0])

    def lost(*_: Any, **__: Any) -> None:
        raise ConnectionError("lost")

    with monkeypatch.context() as patched:
        patched.setattr(fs, "get_file", lost)
        assert "--copy-to: cannot be fetched (lost)" in refused(tmp_path / "fresh", url)
    with opened(tmp_path / "fresh", url)[0]:
        assert read_rows(tmp_path / "fresh") == read_rows(tmp_path / "run")
        assert visible(tmp_path / "fresh") == visible(tmp_path / "run")


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_run_that_ends_by_an_error_sends_what_it_has(make_case: MakeCase, tmp_path: Path, url: str) -> None:
    broken = Stopping(at=1, by=LoraError("is gone"))
    with pytest.raises(LoraError, match="is gone"):
        run(seeded(make_case, 2), tmp_path / "run", url, broken)
    assert broken.seeds == [0]
    assert json.loads(there(url)[RESULTS])["case"] == "small/s0"
    assert there(url) == visible(tmp_path / "run")

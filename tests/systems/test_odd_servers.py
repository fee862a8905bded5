"""Odd addresses, answers and headers: one line each, and nothing that hangs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.systems import http_connection
from harness.systems.inference_body import inference_body
from harness.systems.server_client import ServerClient
from harness.systems.server_renderer import ServerRenderer
from tests.systems.loopback import LoopbackServer

MODELS = {"models": [{"id": "flex2", "base_model": "ostris/Flex.2-preview"}]}
REQUEST = "r-1"
RESULT = f"/v1/requests/{REQUEST}/result"


class OddServer(LoopbackServer):
    """Answers each path with what ``answers`` holds."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Any] = {
            "/v1/models": MODELS,
            "/v1/inference": {"request_id": REQUEST, "status": "queued"},
        }
        self.bodies: list[bytes] = []

    def forget(self) -> None:
        pass

    def found(self, path: str, body: bytes | None) -> tuple[int, Any]:
        if body is not None:
            self.bodies.append(body)
        found = self.answers.get(path, b"")
        return found if isinstance(found, tuple) else (200, found)


@pytest.fixture
def odd() -> Any:
    server = OddServer()
    yield server
    server.close()


@pytest.fixture
def case(make_cases: Callable[[int], list[Case]]) -> Case:
    return make_cases(1)[0]


def line_of(odd: OddServer, case: Case) -> str:
    """Return the one line that a render there ends with."""
    client = ServerClient(odd.url, patience=0.3)

    def render() -> None:
        ServerRenderer(client, client.models(), Path("/")).render(request_of(case, RunOptions(), "cpu"))

    with pytest.raises(HarnessError) as caught:
        render()
    client.close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000", "'localhost:8000' is no address; give http://HOST:PORT"),
        ("/tmp/socket", "is no address"),
        ("", "'' is no address"),
        ("http://127.0.0.1:99999", "is no address"),
        ("http://[::1", "is no address"),
        ("http://exa mple.com", "is no address"),
        ("http://127.0.0.1:9\0", "is no address"),
    ],
)  # fmt: skip
def test_odd_addresses(url: str, said: str) -> None:
    with pytest.raises(HarnessError) as caught:
        ServerClient(url, patience=0.1).models()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("header", "value", "said"),
    [
        ("X-Token", None, "found 'X-Token'; give NAME=VARIABLE"),
        ("X-Token=SECRET", None, "variable 'SECRET' is not set"),
        ("=SECRET", "x", "give NAME=VARIABLE"),
        ("X-Token=SECRET", "abc\n", "holds characters that no header may; is there a line break at its end?"),
        ("X-Token=SECRET", "schlüssel", "holds characters that no header may"),
        ("X Token=SECRET", "abc", "'X Token' is no name of a header"),
    ],
)
def test_odd_headers(monkeypatch: pytest.MonkeyPatch, header: str, value: str | None, said: str) -> None:
    if value is not None:
        monkeypatch.setenv("SECRET", value)
    with pytest.raises(HarnessError) as caught:
        ServerClient("http://127.0.0.1:9", [header])
    assert said in str(caught.value)
    assert value is None or value.strip() not in str(caught.value) or value == "x"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"/v1/models": b"<html>It works!</html>"}, "answered /v1/models with something else than the API"),
        ({"/v1/models": (404, b"<html>")}, "does this address belong to such a server?"),
        ({"/v1/models": {"models": [{"id": "sd15", "base_model": "x"}]}}, "serves no flex2, only sd15"),
        ({"/v1/inference": {"request_id": "../../etc"}}, "answered /v1/inference with something else"),
        ({"/v1/inference": (422, {"detail": [{"msg": "x"}]})}, "refuses POST /v1/inference with 422"),
        ({"/v1/inference": (413, b"x" * 10_000)}, "with 413: xxx"),
        ({"result": {"status": "resting"}}, "the server says 'resting', which the API does not describe"),
        ({"result": {}}, "the server says None, which the API does not describe"),
        ({"result": {"status": "succeeded"}}, "the server made 0 images of one prompt"),
        ({"result": {"status": "succeeded", "outputs": {"images": [{"seed": 1}]}}}, "lacks the image's seed"),
        ({"result": {"status": "failed", "error": "a\nb"}}, "the server says failed: a"),
    ],
)  # fmt: skip
def test_odd_answers(odd: OddServer, case: Case, answers: dict[str, Any], said: str) -> None:
    own = {
        f"/v1/requests/{REQUEST}/result" if path == "result" else path: one for path, one in answers.items()
    }
    odd.answers |= own
    assert said in line_of(odd, case)


def test_a_device_file_is_no_image(odd: OddServer, case: Case) -> None:
    image = {"seed": 1, "width": 128, "height": 128, "file_path": "/dev/zero"}
    odd.answers[RESULT] = {"status": "succeeded", "outputs": {"images": [image]}}
    assert "the server's image /dev/zero is no file here" in line_of(odd, case)


def test_a_redirect_is_not_followed(odd: OddServer, case: Case) -> None:
    odd.answers["/v1/models"], odd.headers = (302, b""), {"Location": "http://127.0.0.1:9/elsewhere"}
    assert "sends /v1/models on to http://127.0.0.1:9/elsewhere; give that address" in line_of(odd, case)


def test_a_gigantic_answer_is_not_read(odd: OddServer, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "MAX_ANSWER_BYTES", 2**20)
    odd.answers["/v1/models"] = b" " * (2**20 + 1)
    assert "answered /v1/models with more than 1 MiB" in line_of(odd, case)


def test_an_answer_that_is_not_what_its_encoding_says(odd: OddServer, case: Case) -> None:
    odd.headers = {"Content-Encoding": "gzip"}
    assert "cannot be reached (DecodingError" in line_of(odd, case)


def test_a_prompt_of_any_script_arrives(odd: OddServer, case: Case) -> None:
    prompt = '猫 قطة 🐈 \u202e a"b\\c'
    changed = case.model_copy(update={"settings": case.settings.model_copy(update={"prompt": prompt})})
    odd.answers[RESULT] = {"status": "canceled"}
    assert "the server says canceled" in line_of(odd, changed)
    request = request_of(changed, RunOptions(), "cpu")
    assert inference_body(request, "x")["prompts"][0]["prompt"] == prompt
    assert prompt.encode() in odd.bodies[0].replace(b'\\"', b'"').replace(b"\\\\", b"\\")


def test_https_where_plain_http_is_spoken(odd: OddServer) -> None:
    client = ServerClient(odd.url.replace("http:", "https:"), patience=0.1)
    with pytest.raises(HarnessError, match=r"cannot be reached \(ConnectError: .*SSL"):
        client.models()

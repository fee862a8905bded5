"""Tokens and control characters reach no line that is printed or stored."""

from __future__ import annotations

import pytest

from harness._util.redaction import redact
from harness.errors import HarnessError, RenderError

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"401 for {TOKEN}", "401 for hf_…"),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer …"),
        (f"https://user:{TOKEN}@huggingface.co/a/b", "https://…@huggingface.co/a/b"),
        (f"https://{TOKEN}@huggingface.co/a", "https://…@huggingface.co/a"),
        ("s3://KEY:se/cret@bucket/a, simplecache::s3://me@b/c", "s3://…@bucket/a, simplecache::s3://…@b/c"),
        ("http://host:8080/a@c, 'http://h:80/a','me@b'", "http://host:8080/a@c, 'http://h:80/a','me@b'"),
        ("ghp_0123456789abcdef0123456789", "ghp_…"),
        (f"?token={TOKEN}&x=1", "?token=hf_…&x=1"),
        (
            "'https://civitai.com/api/download/models/1?type=Model&token=0123abcd'",
            "'https://civitai.com/api/download/models/1?type=Model&token=…'",
        ),
        (
            "https://a.example/l?X-Amz-Signature=0f9e&sig=x%2B#a",
            "https://a.example/l?X-Amz-Signature=…&sig=…#a",
        ),
        (
            "https://a.example/l?tokens=2&key=AI, the key? key=2",
            "https://a.example/l?tokens=2&key=…, the key? key=2",
        ),
        ("me@example.org, https://huggingface.co/a@main", "me@example.org, https://huggingface.co/a@main"),
        (
            "hf_modules_cache, sk-1, a prompt about a bearer of news",
            "hf_modules_cache, sk-1, a prompt about a bearer of news",
        ),
    ],
)
def test_redacted(text: str, left: str) -> None:
    assert redact(text) == left


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN"])
def test_the_value_of_a_token_variable_in_any_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "an-odd-secret")
    assert str(RenderError("refused an-odd-secret")) == "refused …"
    monkeypatch.setenv(name, "")
    assert redact("nothing to hide") == "nothing to hide"


def test_an_error_steers_no_terminal() -> None:
    line = str(HarnessError("a\x1b[2J\x07b\nc\u202ed", file="x\x9b1m", field=TOKEN))
    assert line == r"x\x9b1m: hf_…: a\x1b[2J\x07b c\u202ed"

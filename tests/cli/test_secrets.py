"""A token that stands wherever tokens stand reaches no case, row, log, report or bundle."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.pipeline import renderer as reference_render
from harness.schema.case import load_cases

Harness = Callable[..., Any]
TOKEN = "hf_ThisIsASecretOfThirtyFourLetters"
OTHER = "an-odd-secret-of-no-form"


@pytest.fixture
def planted(job: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose config holds the token, in an environment that holds it too."""
    for name, value in (("HF_TOKEN", OTHER), ("HUGGING_FACE_HUB_TOKEN", TOKEN)):
        monkeypatch.setenv(name, value)
    config = yaml.safe_load((job / "config.yaml").read_text())
    process = config["config"]["process"][0]
    process["model"]["name_or_path"] = f"https://me:{TOKEN}@huggingface.co/ostris/Flex.2-preview"
    process["model"]["hf_token"] = process["hf_token"] = config["token"] = TOKEN
    process["save"]["push_to_hub"] = {"token": OTHER}
    (job / "config.yaml").write_text(yaml.safe_dump(config))
    return job


def leaks(*said: str) -> list[str]:
    """Return every file below the working folder, and every text of ``said``, that holds a token."""
    found = [text for text in said if TOKEN in text or OTHER in text]
    for path in Path.cwd().rglob("*"):
        if path.is_file():
            parts = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    parts += [archive.read(name) for name in archive.namelist()]
            found += [str(path) for part in parts if TOKEN.encode() in part or OTHER.encode() in part]
    return found


def test_from_a_job_to_a_bundle(harness: Harness, planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [harness("import", planted, "--out", "cases")]
    assert ended[0].code == 2
    ended.append(
        harness("import", planted, "--out", "cases", "--base", "embedded:tiny-flex2", "--steps", "30")
    )
    assert ended[1].code == 0

    def refused(*_: Any) -> Any:
        raise OSError(f"401 for https://{TOKEN}@huggingface.co with Bearer {TOKEN} and {OTHER}\x1b[2J")

    monkeypatch.setattr(reference_render, "infer", refused)
    name = load_cases([Path("cases")])[0].id
    for arguments in (
        ("run", "cases", "--out", "reports/r", "--limit", "1", "--device", "cpu"),
        ("report", "reports/r", "--single-file"),
        ("summary", "reports/r"),
        ("bundle", name, "--run", "reports/r", "--out", "a.zip"),
        ("run", "cases", "--out", "reports/s", "--base", f"me/{TOKEN}@main", "--pipeline", "builtin"),
    ):
        ended.append(harness(*arguments))
    assert [each.code for each in ended[2:]] == [3, 0, 0, 0, 2]
    assert "401 for https://…@huggingface.co" in (Path("reports/r") / "results.jsonl").read_text()
    assert leaks(*(each.out + each.err for each in ended)) == []


@pytest.mark.parametrize("value", [TOKEN, [TOKEN], {"a": OTHER}])
def test_from_a_request(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setenv("HF_TOKEN", OTHER)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"model": "flex2", "prompts": [{"prompt": "a"}], "hf_token": value}))
    ended = harness("import", "--request", request, "--preview", tmp_path / "none.png", "--out", "cases")
    assert ended.code == 2
    assert leaks(ended.out + ended.err) == []

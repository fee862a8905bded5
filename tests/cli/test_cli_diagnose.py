"""``harness diagnose`` as a user calls it, most of it with ``--static``: what the files alone say."""

from __future__ import annotations

import json
from pathlib import Path

from harness.schema.case import load_case, save_case
from tests.cli.conftest import Harness
from tests.cli.refused import refused


def test_a_folder_is_answered_case_by_case(harness: Harness, cases: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.json"
    ended = harness("diagnose", cases, "--static", "--json", said)
    assert (ended.code, ended.err) == (0, "")
    answers = json.loads(said.read_text())
    assert [answer["case"] for answer in answers] == [
        "emoji_inkprint/000000000_2",
        "emoji_inkprint/000000200_2",
    ]
    for answer in answers:
        assert f"{answer['case']}:" in ended.out
        assert all(finding["message"] in ended.out for finding in answer["findings"])


def test_a_file_is_answered_alone(harness: Harness, cases: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.json"
    ended = harness("diagnose", cases / "000000200_2.case.yaml", "--static", "--json", said)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(said.read_text())["case"] == "emoji_inkprint/000000200_2"


def test_a_lora_of_another_base_is_named_without_a_model(harness: Harness, cases: Path) -> None:
    ended = harness("diagnose", cases / "000000200_2.case.yaml", "--static", "--base", "embedded:tiny-flex2")
    assert ended.code == 0
    assert "error  lora-base: 62 of 62 modules do not fit the base" in ended.out
    assert "(embedded:tiny-flex2) [lora.file]" in ended.out


def test_a_base_that_is_not_here_is_not_fetched(harness: Harness, cases: Path) -> None:
    ended = harness("diagnose", cases / "000000200_2.case.yaml", "--static", "--base", "owner/is-nowhere")
    assert (ended.code, ended.err) == (0, "")
    assert "lora-base" not in ended.out


def test_a_recipe_that_files_alone_cannot_give_is_refused(
    harness: Harness, cases: Path, tmp_path: Path
) -> None:
    said = refused(harness("diagnose", cases, "--static", "--recipe", tmp_path / "recipe.py"))
    assert "--recipe: takes renders, and --static makes none" in said


def test_a_job_of_which_nothing_can_be_rerun_is_not_passed_over(harness: Harness, cases: Path) -> None:
    (cases / "000000200_2.case.yaml").unlink()
    case = load_case(cases / "000000000_2.case.yaml")
    gone = {"id": "other/a", "incomparable": "the checkpoint was pruned", "lora": None}
    save_case(case.model_copy(update=gone), cases / "a.case.yaml")
    ended = harness("diagnose", cases, "--budget", "2", "--device", "cpu")
    assert ended.code == 1
    assert "\nother/a: left out: the checkpoint was pruned\n" in ended.out


def test_what_is_wrong_with_a_file_names_it(harness: Harness, cases: Path) -> None:
    case = load_case(cases / "000000200_2.case.yaml")
    case.preview_path.write_bytes(case.preview_path.read_bytes()[:3000])
    assert case.lora_path is not None
    case.lora_path.write_bytes(b"")
    out = harness("diagnose", cases, "--static").out
    assert "error  preview: the preview is truncated or cannot be read" in out
    assert "error  lora-keys: the LoRA is empty" in out

"""A file in the place of another one is named for what it is; none is written over."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness.data import INFERENCE_IMAGES, JOBS
from tests.cli.conftest import Harness
from tests.cli.refused import refused

IMAGE = INFERENCE_IMAGES / "inkprint_00002_.png"
LORA = JOBS / "emoji_inkprint" / "emoji_inkprint.safetensors"
CASE = "000000200_2.case.yaml"
NO_CASE = "is no case file; name a *.case.yaml, which harness import makes"


def test_no_input_and_no_other_output_is_written_over(harness: Harness, cases: Path, tmp_path: Path) -> None:
    lora, case = Path(shutil.copy(LORA, tmp_path / "my.safetensors")), cases / CASE
    before = lora.read_bytes(), case.read_bytes()
    for arguments, said in (
        (("audit", lora, "--json", lora), f"{lora}: --json: is given as LORA too; name another file"),
        (("audit", lora, "--out", f"{tmp_path}/cases/../my.safetensors"), "--out: is given as LORA too"),
        (("audit", lora, "--json", "same", "--out", "./same"), "same: --out: is given as --json too"),
        (("diagnose", case, "--recipe", case), "--recipe: is given as CASE too"),
        (("compare", case, IMAGE, "--report", IMAGE), "--report: is given as IMAGE... too"),
    ):
        assert said in refused(harness(*arguments))
    assert (lora.read_bytes(), case.read_bytes()) == before
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("command", [["diagnose"], ["diagnose", "--static"], ["export", "comfy"]])
def test_an_image_is_no_case(harness: Harness, command: list[str]) -> None:
    assert f"{IMAGE}: {NO_CASE}" in refused(harness(*command, IMAGE))


def test_images_and_case_in_the_wrong_order(harness: Harness, cases: Path) -> None:
    assert f"{IMAGE}: {NO_CASE}" in refused(harness("compare", IMAGE, cases / CASE))
    assert f"{cases}: is a folder; name a *.case.yaml" in refused(harness("compare", cases, IMAGE))
    assert f"{cases}: is a folder; name an image in it" in refused(
        harness("compare", cases / CASE, cases, "--static")
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, and the file itself is not"),
        (b"<!doctype html>", "is a web page; download the file itself"),
        (b"PK\x03\x04" + bytes(9), "is a zip, which may hold anything; it was not read"),
    ],
)
def test_what_came_instead_of_a_lora(harness: Harness, content: bytes, said: str) -> None:
    Path("lora.zip").write_bytes(content)
    assert f"lora.zip: {said}" in refused(harness("audit", "lora.zip"))


def test_a_folder_is_no_lora_and_a_zipped_job_no_bundle(harness: Harness, job: Path) -> None:
    assert "is a folder; name a .safetensors file in it" in refused(harness("audit", job))
    archive = shutil.make_archive("job", "zip", job)
    said = "bundle.json: is missing: not a bundle; of a job in a zip, give the unpacked folder"
    assert said in refused(harness("import", archive))


def test_a_strength_that_is_none(harness: Harness) -> None:
    ended = harness(
        "audit", LORA, "--base", "embedded:tiny-flex2-emoji", "--multiplier", "0", "--quantize", "int8"
    )
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("AI Toolkit: applies 124 keys\nit changes nothing at --multiplier 0\n")
    for number in ("1e300", "nan", "-101"):
        assert "'--multiplier'" in harness("audit", LORA, "--multiplier", number).err


def test_ids_of_cases_are_shown_where_none_is_known(harness: Harness, cases: Path) -> None:
    assert harness("run", cases, "--out", "reports/run", "--only", "*0_2", "--device", "cpu").code in (0, 1)
    for arguments in (
        ("bundle", "000000200_2"),
        ("bundle", cases / CASE),
        ("bundle", "000000200_2", "--run", "reports/run"),
        ("history", "000000200_2"),
        ("accept", "reports/run", "000000200_2", "--reason", "x"),
    ):
        assert "did you mean 'emoji_inkprint/000000200_2'?" in refused(harness(*arguments))
    assert "ids look like 'emoji_inkprint/000000000_2'" in refused(harness("bundle", "mine"))
    line = refused(harness("bundle", "emoji_inkprint/000000200_2", "--variant", "shift=1"))
    assert "its variants are reference" in line


def test_a_job_without_a_base_and_with_a_pipe_for_a_preview(harness: Harness, job: Path) -> None:
    preview = min((job / "samples").glob("*.jpg"))
    preview.unlink()
    os.mkfifo(preview)
    ended = harness("import", job)
    assert (ended.code, ended.err) == (2, f"harness: {preview}: is not a regular file\n")
    config = job / "config.yaml"
    config.write_text(config.read_text().replace("name_or_path: tiny-flex2", "name_or_path: ''"))
    assert "model.name_or_path: '' is neither a folder here nor a repository" in refused(
        harness("import", job)
    )

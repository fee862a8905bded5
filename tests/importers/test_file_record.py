"""What a folder of cases remembers: it only saves time, and never outlives a change of a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from harness.importers import preview_image
from harness.importers.aitoolkit import import_job
from harness.importers.file_record import RECORD, FileRecord
from harness.schema import lora_file
from tests.importers.job_edits import change_metadata, tree

OLD = 1795423000
"""Seconds since 1970, long ago: what changed then is remembered."""


@pytest.fixture
def old_job(job: Path) -> Path:
    for path in job.rglob("*"):
        os.utime(path, (OLD, OLD))
    return job


def test_an_unchanged_folder_is_not_read_again(
    old_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cases"
    first = import_job(old_job, out=out)
    before = tree(out)
    monkeypatch.setattr(preview_image, "read_preview", None)
    monkeypatch.setattr(lora_file, "hash_finite_weights", None)
    again = import_job(old_job, out=out)
    assert [case.model_dump() for case in again.cases] == [case.model_dump() for case in first.cases]
    assert tree(out) == before


def test_changed_files_are_read_again(old_job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    first = {case.id: case for case in import_job(old_job, out=out).cases}
    change_metadata(old_job / "tiny_flex2_simple_v1.safetensors")
    picture = next((old_job / "samples").glob("*__000000010_0.jpg"))
    Image.new("RGB", (128, 128), (1, 2, 3)).save(picture)
    again = {case.id: case for case in import_job(old_job, out=out).cases}
    changed = {name for name, case in again.items() if case.model_dump() != first[name].model_dump()}
    assert {name.split("/")[1] for name in changed} == {"000000010_0", *(f"000000030_{i}" for i in range(4))}
    for case in again.values():
        case.verify()


def test_a_copy_that_was_damaged_is_made_again(old_job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    case = import_job(old_job, out=out).cases[0]
    case.preview_path.write_bytes(b"damaged")
    import_job(old_job, out=out).cases[0].verify()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": 1}', '{"a": [1, 2]}', '{"a": ["x", 2, {}]}', "[" * 100_000]
)
def test_a_broken_record_is_no_record(old_job: Path, tmp_path: Path, text: str) -> None:
    out = tmp_path / "cases"
    first = import_job(old_job, out=out)
    (out / RECORD).write_text(text)
    again = import_job(old_job, out=out)
    assert [case.model_dump() for case in again.cases] == [case.model_dump() for case in first.cases]


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    record = FileRecord(tmp_path)
    record.remember(path, sha256="wrong")
    assert record.recall(path) is None
    os.utime(path, (OLD, OLD))
    record.remember(path, sha256="right")
    assert record.sha256(path) == "right"

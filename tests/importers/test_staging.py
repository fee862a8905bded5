"""Files that are built in a hidden folder: one import at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import JobError
from harness.importers.aitoolkit import import_job
from harness.importers.staging import STAGING, staging


def test_two_imports_into_one_folder(jobs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "cases"
    with staging(out) as staged:
        (staged / "file").touch()
        with pytest.raises(JobError, match="cases: is in use by another import; wait for it"):
            import_job(jobs["inkprint"], out=out, steps="0")
        assert (staged / "file").exists()
    assert not out.exists()
    assert len(import_job(jobs["inkprint"], out=out, steps="0").cases) == 4


def test_what_a_killed_import_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"{STAGING}killed"
    left.mkdir()
    with staging(tmp_path):
        assert not left.exists()

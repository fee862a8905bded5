"""What a failed or killed import leaves behind: the folder as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import JobError
from harness.importers.aitoolkit import import_job
from harness.importers.draft import Draft, SourceFile
from harness.importers.staging import STAGING
from harness.importers.writer import write_cases
from harness.schema.case import load_cases
from tests.importers.job_edits import change_metadata, tree

NAME = "tiny_flex2_simple_v1"


def test_case_that_cannot_be_read_back_changes_nothing(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    case = import_job(job, out=out).cases[0]
    before = tree(out)
    preview = job / "samples" / case.preview_path.name
    unwritable = case.settings.model_copy(update={"prompt": "\ud800"})
    source = SourceFile(preview, case.preview.sha256)
    draft = Draft("000000000_0", source, (128, 128), 0, 0, None, 1.0, unwritable, case.trained)
    with pytest.raises(JobError, match="can be read back") as error:
        write_cases([draft], job=NAME, base=case.base, out=out, previews={preview.name: preview})
    assert "\n" not in str(error.value)
    assert tree(out) == before


def test_failure_in_the_middle_puts_everything_back(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    import_job(job, out=out)
    change_metadata(job / f"{NAME}.safetensors")
    obstacle = next((out / "previews").glob("*__000000030_3.jpg"))
    obstacle.unlink()
    obstacle.mkdir()
    before = tree(out)
    with pytest.raises(JobError, match="cannot be written"):
        import_job(job, out=out)
    assert tree(out) == before


KILLED = """
import os, sys
from pathlib import Path
from harness.importers import writer
from harness.importers.aitoolkit import import_job
writer.install = lambda staged, folder: os._exit(9)
import_job(Path(sys.argv[1]), out=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("again", [False, True])
def test_what_a_killed_import_left_is_swept(job: Path, tmp_path: Path, again: bool) -> None:
    out = tmp_path / "cases"
    if again:
        import_job(job, out=out)
    command = [sys.executable, "-c", KILLED, str(job), str(out)]
    assert subprocess.run(command, check=False).returncode == 9
    assert len(list(out.glob(f"{STAGING}*"))) == 1
    import_job(job, out=out)
    assert [*out.glob(f"{STAGING}*"), *tmp_path.glob(".*")] == []
    assert len(load_cases([out])) == 16

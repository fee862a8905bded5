"""Jobs that were resumed with an edited config: which previews are of another config, and what shows it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job
from harness.importers.draft import ImportResult
from harness.schema.case import load_cases
from harness.schema.case_parts import OlderConfig
from tests.importers.job_edits import add_preview

RESUMED = 1795874740
"""When the genuine job was resumed, seconds since 1970: between its steps 20 and 30."""


@pytest.fixture
def resumed(tmp_path: Path, genuine: Callable[[str], Path]) -> Path:
    return Path(shutil.copytree(genuine("ink_resumed"), tmp_path / "ink_resumed"))


def older(result: ImportResult) -> dict[str, OlderConfig | None]:
    return {case.id.split("/")[1]: case.preview.older_config for case in result.cases}


def marked(result: ImportResult, how: OlderConfig) -> list[int | None]:
    return sorted({case.preview.step for case in result.cases if case.preview.older_config is how})


def test_the_number_of_previews_proves_an_edit(resumed: Path, tmp_path: Path) -> None:
    result = import_job(resumed, out=tmp_path / "cases")
    assert marked(result, OlderConfig.COUNT) == [0, 10, 20]
    assert [case.preview.step for case in result.cases if case.preview.older_config is None] == [30] * 4
    (line,) = [line for line in result.assumptions if "was edited after step 20, which is certain" in line]
    assert "those steps have 3 previews each and it lists 4 samples" in line
    assert "--config OLD.yaml --steps 0-20" in line
    notes = [case.assumptions for case in result.cases if case.preview.step == 20]
    assert all("the number of previews proves" in " ".join(note) for note in notes)


def test_file_times_show_a_resumed_job(resumed: Path, tmp_path: Path) -> None:
    for path in (resumed / "samples").glob("*_3.jpg"):
        path.unlink()
    os.utime(resumed / "config.yaml", (RESUMED, RESUMED))
    result = import_job(resumed, out=tmp_path / "cases")
    assert marked(result, OlderConfig.TIME) == [0, 10, 20]
    assert any("9 of 12 previews (the job was resumed)" in line for line in result.assumptions)


def test_a_copied_folder_shows_nothing(job: Path, tmp_path: Path) -> None:
    os.utime(job / "config.yaml")
    result = import_job(job, out=tmp_path / "cases")
    assert set(older(result).values()) == {None}
    assert any("later than every preview" in line for line in result.assumptions)


def test_the_old_config_gives_the_old_previews_theirs(resumed: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    import_job(resumed, out=out)
    old = import_job(resumed, out=out, config=resumed / "config.before.yaml", steps="0-20")
    assert set(older(old).values()) == {None}
    settings = {case.preview.index: case.settings for case in old.cases if case.preview.step == 20}
    now = {case.preview.index: case.settings for case in load_cases([out]) if case.preview.step == 30}
    assert settings[0].guidance_scale == 4.0
    assert now[0].guidance_scale == 5.0
    assert (settings[2].seed, now[2].seed) == (7, 8)
    assert settings[0].prompt != now[0].prompt
    assert len(load_cases([out])) == 13


@pytest.mark.parametrize(
    ("counts", "proved"),
    [
        ({0: 4, 10: 4, 20: 4}, []),
        ({0: 3, 10: 3, 20: 4}, [0, 10]),
        ({0: 6, 10: 4, 20: 4}, [0]),
        ({0: 2, 10: 4, 20: 4}, []),
        ({0: 4, 10: 2, 20: 4}, []),
        ({0: 3, 10: 2, 20: 4}, []),
        ({0: 2, 10: 2, 20: 2}, []),
        ({0: 4, 10: 2, 20: 2}, []),
        ({0: 2, 10: 2, 20: 2, 30: 4, 40: 4}, [0, 10, 20]),
    ],
)
def test_only_a_change_from_step_to_step_proves_it(
    job: Path, tmp_path: Path, counts: dict[int, int], proved: list[int]
) -> None:
    for path in (job / "samples").glob("*.jpg"):
        path.unlink()
    for step, count in counts.items():
        for index in range(count):
            size = (96, 160) if index == 2 else (128, 128)
            add_preview(job, f"{1795423000000 + 1000 * step + index}__{step:09d}_{index}.png", size)
    os.utime(job / "config.yaml", (1795422000, 1795422000))
    assert marked(import_job(job, out=tmp_path / "cases"), OlderConfig.COUNT) == proved


def test_previews_of_several_runs_prove_nothing(job: Path, tmp_path: Path) -> None:
    """Step 0 has all samples and is the youngest; the others were put there from elsewhere."""
    for path in (job / "samples").glob("*.jpg"):
        path.unlink()
    for moment, step, count in ((1795423000000, 100, 1), (1795424000000, 200, 1), (1795425000000, 0, 4)):
        for index in range(count):
            size = (96, 160) if index == 2 else (128, 128)
            add_preview(job, f"{moment + index}__{step:09d}_{index}.png", size)
    os.utime(job / "config.yaml", (1795422000, 1795422000))
    assert set(older(import_job(job, out=tmp_path / "cases")).values()) == {None}


def test_deleted_previews_prove_nothing(job: Path, tmp_path: Path) -> None:
    for path in (job / "samples").glob("*__0000000[01]0_1.jpg"):
        path.unlink()
    os.utime(job / "config.yaml", (1795422000, 1795422000))
    assert set(older(import_job(job, out=tmp_path / "cases")).values()) == {None}

"""Which previews and which base an import takes, and where its cases go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import JobError
from harness.importers.aitoolkit import import_job
from harness.importers.draft import safe_name
from harness.schema.base import Base
from tests.importers.job_edits import Edit


def test_selecting_steps(job: Path, tmp_path: Path) -> None:
    def steps(which: str) -> set[int | None]:
        return {case.preview.step for case in import_job(job, out=tmp_path / "cases", steps=which).cases}

    assert steps("all") == {0, 10, 20, 30}
    assert steps("last") == {30}
    assert steps("10, 30") == {10, 30}
    assert steps("0-10,25-40") == {0, 10, 30}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ostris/Flex.2-preview", Base(repo="ostris/Flex.2-preview")),
        ("tiny-flex2", Base(embedded="tiny-flex2")),
    ],
)
def test_base_from_the_config(job: Path, edit: Edit, tmp_path: Path, name: str, expected: Base) -> None:
    edit(lambda process: process["model"].update(name_or_path=name))
    assert import_job(job, out=tmp_path / "cases").cases[0].base == expected


def test_base_that_is_a_folder_or_given(job: Path, edit: Edit, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    edit(lambda process: process["model"].update(name_or_path=str(tmp_path / "weights")))
    assert import_job(job, out=tmp_path / "a").cases[0].base == Base(path=str(tmp_path / "weights"))
    given = Base(repo="me/mine", revision="abc")
    assert import_job(job, out=tmp_path / "b", base=given).cases[0].base == given


def test_schema_is_named_where_there_is_one(job: Path, tmp_path: Path) -> None:
    (tmp_path / "case.schema.json").write_text("{}")
    case = import_job(job, out=tmp_path / "cases", steps="10").cases[0]
    first = (case.folder / "000000010_0.case.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../case.schema.json"


def test_folder_of_another_job_is_refused(job: Path, genuine: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "cases"
    import_job(genuine("legacy_jpg_q8"), out=out)
    before = sorted(path.name for path in out.rglob("*"))
    with pytest.raises(JobError, match="cases of another job, 'legacy_jpg_q8'"):
        import_job(job, out=out)
    assert sorted(path.name for path in out.rglob("*")) == before


def test_folder_with_other_things_is_refused(job: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is not empty and holds no cases"):
        import_job(job, out=job)
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="is a file"):
        import_job(job, out=tmp_path / "file")
    with pytest.raises(JobError, match="cannot be written"):
        import_job(job, out=tmp_path / "file" / "cases")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my lora", "my lora"),
        ("größe", "größe"),
        ("x" * 120, "x" * 120),
        ("a/b:c", "a_b_c-3b07f8"),
        ("a?b:c", "a_b_c-df4eb2"),
        ("-x", "_-x-a42096"),
        ("..", "_..-5ec1f7"),
        ("", "_-e3b0c4"),
        ("x" * 121, "x" * 120 + "-79072a"),
        ("猫" * 100, "猫" * 82 + "-31d340"),
        ("\udcff", "_-8f1d0f"),
    ],
)
def test_job_names_become_case_ids(name: str, expected: str) -> None:
    assert safe_name(name) == expected


def test_jobs_whose_names_differ_in_special_characters_keep_their_ids_apart(
    job: Path, tmp_path: Path
) -> None:
    ids = set()
    for name in ("my lora!", "my lora?"):
        config = tmp_path / "config.yaml"
        config.write_text((job / "config.yaml").read_text().replace("tiny_flex2_simple_v1", f'"{name}"'))
        ids |= {case.job for case in import_job(job, out=tmp_path / name, config=config).cases}
    assert ids == {"my lora_-5ccfc8", "my lora_-6a1ccb"}

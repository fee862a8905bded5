"""What a second import takes over from the first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness._util.atomic_files import sha256_file
from harness.errors import CaseError, JobError
from harness.importers.aitoolkit import import_job
from harness.schema.base import Base
from harness.schema.case import Case, load_case, load_cases, save_case
from harness.schema.metric_limits import Tolerance
from tests.importers.job_edits import change_metadata, tree

NAME = "tiny_flex2_simple_v1"


def change(path: Path, **fields: object) -> None:
    """Set fields of a case file as a hand would."""
    save_case(load_case(path).model_copy(update=fields), path)


def said(lines: list[str], words: str) -> str:
    return next(line for line in lines if words in line)


def by_step(cases: list[Case], step: int) -> list[Case]:
    return [case for case in cases if case.preview.step == step]


def test_lora_that_the_trainer_pruned_meanwhile_is_kept(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    before = import_job(job, out=out).cases
    (job / f"{NAME}_000000010.safetensors").unlink()
    again = import_job(job, out=out)
    assert by_step(again.cases, 10) == by_step(before, 10)
    assert [pairing.note for pairing in again.pairings if pairing.step == 10] == [
        "the copy of the previous import"
    ] * 4
    assert f"{NAME}_000000010.safetensors" in said(again.assumptions, "the job no longer has")
    for case in load_cases([out]):
        case.verify()


def test_software_of_a_kept_lora_is_kept(job: Path, tmp_path: Path) -> None:
    before = import_job(job, out=tmp_path / "cases", steps="10").cases
    for path in job.glob("*.safetensors"):
        path.unlink()
    assert import_job(job, out=tmp_path / "cases", steps="10").cases == before
    assert before[0].trained.software == "ai-toolkit 0.12.26"


def test_kept_copy_that_was_changed_is_not_used(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    import_job(job, out=out)
    name = f"{NAME}_000000010.safetensors"
    (job / name).unlink()
    shutil.copy(job / f"{NAME}.safetensors", out / "loras" / name)
    cases = by_step(import_job(job, out=out).cases, 10)
    assert all("checkpoint of step 10 is missing" in str(case.incomparable) for case in cases)


def test_final_file_that_a_resumed_run_overwrote_stays_beside_the_new_one(job: Path, tmp_path: Path) -> None:
    """First run: 10 steps, saved without a number. Resumed to 30: the same file name holds step 30."""
    out, final, ten = tmp_path / "cases", job / f"{NAME}.safetensors", job / f"{NAME}_000000010.safetensors"
    later = final.read_bytes()
    ten.replace(final)
    first = import_job(job, out=out, steps="10").cases
    final.write_bytes(later)
    cases = import_job(job, out=out).cases
    assert by_step(cases, 10) == first
    files = {case.preview.step: case.lora.file for case in cases if case.lora is not None}
    assert files[10] == f"loras/{NAME}.safetensors"
    assert files[30] == f"loras/{NAME}_{sha256_file(final)[:8]}.safetensors"
    for case in cases:
        case.verify()


def test_step_rendered_again_keeps_the_weights_of_the_first_time(job: Path, tmp_path: Path) -> None:
    out, checkpoint = tmp_path / "cases", job / f"{NAME}_000000010.safetensors"
    first = import_job(job, out=out, steps="10").cases
    for path in list((job / "samples").glob("*__000000010_*.jpg")):
        shutil.copy(
            next((job / "samples").glob("*__000000020_0.jpg")),
            path.with_name(f"18{path.name[2:]}"),
        )
    change_metadata(checkpoint)
    cases = by_step(import_job(job, out=out).cases, 10)
    assert len(cases) == 8
    old = {case.preview.sha256: case for case in cases if case.id.count("_") > 4}
    for case in first:
        assert case.lora is not None
        same = old[case.preview.sha256]
        assert same.lora is not None
        assert (same.incomparable, same.lora.sha256) == (None, case.lora.sha256)
    for case in load_cases([out]):
        case.verify()


def test_cases_of_other_steps_stay(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases" / "mine"
    everything = import_job(job, out=out).cases
    (out / "README.md").write_text("mine")
    before = tree(out)
    again = import_job(job, out=out, steps="10")
    assert [case.preview.step for case in again.cases] == [10] * 4
    assert len(load_cases([out])) == len(everything)
    assert tree(out) == before
    assert said(again.assumptions, "not imported now are kept").endswith(": 12 of step 0, 20, 30")


def test_what_was_set_by_hand_stays(job: Path, tmp_path: Path) -> None:
    out, base = tmp_path / "cases", Base(repo="me/mine")
    import_job(job, out=out, base=base)
    tolerance = Tolerance(ssim_min=0.5, lpips_max=0.5, source="by hand")
    hand = {"tolerance": tolerance, "pipeline": "builtin", "noise": "legacy", "quantize": "qfloat8"}
    pinned = Base(repo="me/mine", revision="abc")
    change(out / "000000010_0.case.yaml", **hand, base=pinned)
    again = import_job(job, out=out, base=base)
    first, second = by_step(again.cases, 10)[:2]
    assert {name: getattr(first, name) for name in hand} == hand
    assert (first.base, second.base) == (pinned, base)
    assert (second.tolerance, second.pipeline, second.noise, second.quantize) == (None, None, "auto", "none")
    assert said(again.assumptions, "set in them by hand").startswith("1 case file keeps")


def test_case_made_by_hand_from_an_imported_one_stays(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    case = import_job(job, out=out, steps="10").cases[0]
    mine = case.model_copy(update={"id": f"{case.id}-other-pipeline", "pipeline": "builtin"})
    save_case(mine, out / "0-mine.case.yaml")
    (job / f"{NAME}_000000010.safetensors").unlink()
    assert import_job(job, out=out, steps="10").cases[0] == case
    assert load_case(out / "0-mine.case.yaml").model_dump() == mine.model_dump()
    assert len(load_cases([out])) == 5


def test_case_file_that_was_renamed_is_replaced(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    import_job(job, out=out, steps="10")
    (out / "000000010_0.case.yaml").rename(out / "the best.case.yaml")
    change(out / "the best.case.yaml", pipeline="builtin")
    assert import_job(job, out=out, steps="10").cases[0].pipeline == "builtin"
    assert len(load_cases([out])) == 4


def test_files_that_nothing_refers_to_are_removed(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    import_job(job, out=out)
    (out / "loras" / "mine.safetensors").write_bytes(b"not the importer's")
    change_metadata(job / f"{NAME}.safetensors")
    path = next((job / "samples").glob("*__000000010_3.jpg"))
    path.rename(path.with_name(f"18{path.name[2:]}"))
    import_job(job, out=out)
    names = {path.name for path in (out / "previews").iterdir()}
    assert f"18{path.name[2:]}" in names
    assert path.name not in names
    assert len(list((out / "loras").iterdir())) == 4
    for case in load_cases([out]):
        case.verify()


def test_namesake_is_refused(job: Path, tmp_path: Path) -> None:
    """Another training of the same name: its step-0 previews may be the same picture."""
    out = tmp_path / "cases"
    import_job(job, out=out)
    before = tree(out)
    for path in list((job / "samples").glob("*.jpg")):
        path.rename(path.with_name(f"18{path.name[2:]}"))
    for steps in ("all", "10"):
        with pytest.raises(JobError, match="another job of the same name") as error:
            import_job(job, out=out, steps=steps)
        assert str(job) in str(error.value)
        assert "__000000000_0.jpg" in str(error.value)
    assert tree(out) == before


def test_import_into_the_working_directory(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for _ in range(2):
        result = import_job(job, out=Path(), steps="10")
        assert result.folder == Path.cwd() == tmp_path / "here"
        assert len(load_cases([Path()])) == 4


def test_output_that_is_a_link_stays_one(job: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cases").symlink_to(tmp_path / "disk")
    for _ in range(2):
        import_job(job, out=tmp_path / "cases", steps="10")
        assert (tmp_path / "cases").is_symlink()
        assert len(load_cases([tmp_path / "disk"])) == 4


def test_a_broken_case_says_what_lets_the_next_import_through(jobs: dict[str, Path], tmp_path: Path) -> None:
    import_job(jobs["inkprint"], out=tmp_path, steps="0")
    broken = tmp_path / "000000000_0.case.yaml"
    broken.write_text("")
    with pytest.raises(CaseError, match="is empty; see harness schema, or remove it and import again"):
        import_job(jobs["inkprint"], out=tmp_path, steps="0")
    broken.unlink()
    assert len(import_job(jobs["inkprint"], out=tmp_path, steps="0").cases) == 4


@pytest.mark.parametrize("name", ["previews", "loras"])
def test_a_link_out_of_the_folder_is_not_written_through(job: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "cases"
    import_job(job, out=out, steps="10")
    (out / name).rename(tmp_path / "disk")
    (out / name).symlink_to(tmp_path / "disk")
    with pytest.raises(JobError, match=f"{out}/{name}: leads out of the folder of cases by a link; put the"):
        import_job(job, out=out, steps="all")
    with pytest.raises(CaseError, match="leads out of the case's folder by a link"):
        load_cases([out])[0].verify()
    assert len(load_cases([out])) == 4


def test_a_link_to_a_file_elsewhere_becomes_the_file(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    case = import_job(job, out=out, steps="10").cases[0]
    assert case.lora_path is not None
    for path in (case.preview_path, case.lora_path):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    import_job(job, out=out, steps="10")
    load_cases([out])[0].verify()
    assert not case.preview_path.is_symlink()
    assert (tmp_path / case.preview_path.name).is_file()

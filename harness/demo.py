"""The demo: a genuine AI Toolkit job, re-rendered on the embedded checkpoint, with one deliberate mistake."""

from __future__ import annotations

import os
from pathlib import Path

from harness.comparison.compare import Comparison, compare
from harness.data import INFERENCE_IMAGES, JOBS
from harness.errors import RunError
from harness.importers.aitoolkit import import_job
from harness.report.comparison_page import store_comparisons
from harness.runs.folder import refuse_for_import
from harness.runs.plan import RunOptions
from harness.runs.progress import Progress
from harness.runs.results import RunResult
from harness.runs.run import run_cases
from harness.runs.run_files import MANIFEST, read_manifest
from harness.runs.run_identity import CASES
from harness.schema.case import SUFFIX, Case, load_case, save_case

JOB = JOBS / "emoji_inkprint"
STEPS = "0,300"
WRONG_CASE = f"{JOB.name}/000000000_1"
WRONG_NAME = "wrong-guidance"
WRONG_GUIDANCE = 3.0
COMPARED = f"000000300_0{SUFFIX}"
IMAGE = INFERENCE_IMAGES / "inkprint_00002_.png"
"""What ComfyUI made of the preview of ``COMPARED``, with guidance 3.5 for 4."""


def run_demo(
    *,
    out: str | os.PathLike[str],
    cases: str | os.PathLike[str],
    progress: Progress | None = None,
    processes: int = 1,
) -> RunResult:
    """Import the shipped job, add a case with a wrong guidance scale, and run them all on the CPU.

    Args:
        out: the run folder; an earlier demo there is taken up.
        cases: where the case files go; an earlier demo's are replaced.
        processes: how many render at once; see ``RunOptions.cpu_processes``.

    Raises:
        JobError, RunError: one of the folders holds something else.
    """
    out = Path(out)
    cases = Path(cases)
    _refuse_other_run(out, cases)
    found = [_with_its_t5(case) for case in import_job(JOB, out=cases, steps=STEPS).cases]
    wrong = _with_wrong_guidance(next(case for case in found if case.id == WRONG_CASE))
    options = RunOptions(device="cpu", cpu_processes=processes)
    return run_cases([*found, wrong], out=out, options=options, progress=progress)


def compare_demo(*, out: Path, cases: Path) -> Comparison:
    """Compare a picture of ComfyUI with one of the demo's previews, by its files alone.

    Args:
        out: the demo's run folder; the page goes there, to be linked from the case's page.
        cases: the demo's case files.

    Raises:
        CaseError, RunError: one of the folders holds no demo.
    """
    found = compare(load_case(cases / COMPARED), IMAGE, static=True)
    store_comparisons([found], out)
    return found


def _refuse_other_run(out: Path, cases: Path) -> None:
    """Refuse a run folder of something else, before any case is written."""
    refuse_for_import(out, cases)
    wrong = f"{WRONG_CASE}-{WRONG_NAME}"
    if (out / MANIFEST).exists() and wrong not in read_manifest(out)["identity"].get(CASES, []):
        fix = "choose another folder"
        raise RunError("holds another run than a demo's", file=out, field="--out", fix=fix)


def _with_its_t5(case: Case) -> Case:
    """Return a case of the shipped job with the T5 attention of the transformers 5.24 that it ran under."""
    assert case.file is not None
    return save_case(case.model_copy(update={"t5_attention": "sdpa"}), case.file)


def _with_wrong_guidance(case: Case) -> Case:
    mistake = f"deliberately wrong: guidance_scale {WRONG_GUIDANCE} instead of {case.settings.guidance_scale}"
    wrong = case.model_copy(
        update={
            "id": f"{case.id}-{WRONG_NAME}",
            "settings": case.settings.model_copy(update={"guidance_scale": WRONG_GUIDANCE}),
            "assumptions": [mistake],
        }
    )
    return save_case(wrong, case.folder / f"{WRONG_NAME}{SUFFIX}")

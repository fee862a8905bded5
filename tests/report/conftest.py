from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.schema.result import Verdict
from tests.report.report_runs import Run, case_of, sample, scores_of


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], Run]:
    return lambda name: Run(tmp_path / name)


@pytest.fixture
def run(make_run: Callable[[str], Run]) -> Run:
    return make_run("nightly")


@pytest.fixture
def mixed(run: Run) -> Run:
    """One of every verdict, two of drift; added best first, so that the report has to sort."""
    preview, other = sample(30, 0), sample(0, 0)
    run.compared(case_of(preview, "job/same"), preview, preview)
    run.compared(case_of(preview, "job/close"), preview, sample(20, 0))
    run.bare(case_of(preview, "job/gone"), preview, Verdict.INCOMPARABLE, "the checkpoint was pruned")
    run.compared(
        case_of(preview, "job/some"), preview, other, scores=scores_of(preview, other, ssim=0.97, lpips=0.01)
    )
    run.compared(
        case_of(preview, "job/much"), preview, other, scores=scores_of(preview, other, ssim=0.30, lpips=0.4)
    )
    run.bare(case_of(preview, "job/broken"), preview, Verdict.ERROR, "out of memory")
    return run

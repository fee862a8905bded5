"""The verdict of a set: a job's previews judged together.

A small wrong setting, such as 15 steps for 25, can pass in every case and still move most of them away from
their previews. A valid re-run does not: in most cases it stays within what was measured for valid re-runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from harness.schema.result import REFERENCE, Row, Verdict

ALPHA = 0.01
"""Probability at most of calling a set of valid re-runs a drift."""

MIN_CASES = 7
"""The fewest cases that can tell at ``ALPHA``: if all are worse, the p-value is 1 / 2⁷."""

SAME_MACHINE_NOISE, OTHER_MACHINE_NOISE = 0.0089, 0.0179
"""SSIM by which valid executions were seen to change a case, where its own calibration does not say.

``docs/decisions.md`` has the measurements: on one kind of machine, and between kinds.
"""


@dataclass(frozen=True)
class SetVerdict:
    """What the re-runs of one job say together.

    Attributes:
        job: the part of the case ids before their last slash.
        cases: re-runs that could be compared with a bound.
        worse: those that are farther from their preview than any valid re-run of the case.
        median: median SSIM above the bound; below 0 is worse.
        p_value: of the one-sided Wilcoxon signed-rank test, exact up to 50 cases.
    """

    job: str
    cases: int
    worse: int
    median: float
    p_value: float

    @property
    def drifts(self) -> bool:
        """The re-runs are worse than chance explains."""
        return self.p_value <= ALPHA

    @property
    def reason(self) -> str:
        """The result in words."""
        side = "below" if self.median < 0 else "above"
        return (
            f"{self.worse} of {self.cases} re-runs are farther from their preview than valid re-runs get "
            f"(median SSIM {abs(self.median):.4f} {side} the worst of them, signed-rank test "
            f"p = {self.p_value:.2g})"
        )


def judge_sets(rows: Iterable[Row]) -> list[SetVerdict]:
    """Return the verdict of every job with at least ``MIN_CASES`` comparable cases, in the order of names.

    Each re-run is paired with the SSIM of the worst valid re-run of the same case (``bound``). The test ranks
    the differences: many small losses count, and so do few large ones.

    Args:
        rows: of one run; variants are passed over, and so are cases without scores or without a bound.
    """
    found = sorted(
        (row for row in rows if row.variant == REFERENCE and row.verdict is not Verdict.INCOMPARABLE),
        key=_job,
    )
    differences = {job: _differences(group) for job, group in groupby(found, key=_job)}
    return [_judge(job, pairs) for job, pairs in differences.items() if len(pairs) >= MIN_CASES]


def bound(row: Row) -> float | None:
    """Return the SSIM of the worst valid re-run of a case; None where it is not known.

    It is what the case's calibration measured. Where somebody accepted a result that is worse, or nothing was
    calibrated, it is the accepted SSIM less what valid executions change.
    """
    calibrated, baseline = row.tolerance.noise_ssim, row.baseline
    if baseline is None or baseline.scores is None:
        return calibrated
    accepted = baseline.scores.ssim
    if calibrated is not None and accepted >= calibrated:
        return calibrated
    return accepted - (SAME_MACHINE_NOISE if baseline.same_environment else OTHER_MACHINE_NOISE)


def _differences(rows: Iterable[Row]) -> list[float]:
    return [row.ssim - worst for row in rows if row.ssim is not None and (worst := bound(row)) is not None]


def _judge(job: str, differences: list[float]) -> SetVerdict:
    worse = sum(difference < 0 for difference in differences)
    p_value = _signed_rank_test(differences) if worse else 1.0
    return SetVerdict(job, len(differences), worse, statistics.median(differences), p_value)


def _signed_rank_test(differences: list[float]) -> float:
    """Return the probability of differences as low as these if each is as likely above 0 as below."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue)


def _job(row: Row) -> str:
    return row.description.job or row.case

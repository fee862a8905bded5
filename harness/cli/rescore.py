"""``harness rescore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.command import command
from harness.cli.options import LPIPS_WEIGHTS, METRICS, RUN, tolerance

if TYPE_CHECKING:
    from harness.judging.tolerance import Source
    from harness.metrics.scores import MetricName
    from harness.schema.metric_limits import Tolerance


@command()
@RUN
@tolerance
@LPIPS_WEIGHTS
@METRICS
def rescore(
    run: Path,
    tolerance: Tolerance | Source | None,
    lpips_weights: Path | None,
    metrics: tuple[MetricName, ...],
) -> None:
    """Score and judge a saved run again from its images, without rendering, and rebuild its report."""
    from harness.cli.show import finish
    from harness.runs.rescore import rescore as score_again

    finish(score_again(run, tolerance=tolerance, lpips_weights=lpips_weights, metrics=metrics))

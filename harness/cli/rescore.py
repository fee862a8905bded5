"""``harness rescore``."""

from __future__ import annotations

from harness.cli.options import (
    LpipsMax,
    LpipsWeights,
    PsnrMin,
    RunPath,
    SsimMin,
    ToleranceOption,
    tolerance_from,
)


def rescore(
    run: RunPath,
    ssim_min: SsimMin = None,
    lpips_max: LpipsMax = None,
    psnr_min: PsnrMin = None,
    tolerance: ToleranceOption = None,
    lpips_weights: LpipsWeights = None,
) -> None:
    """Score and judge a saved run again from its images, without rendering, and rebuild its report."""
    from harness.cli.show import finish
    from harness.runs.rescore import rescore as score_again

    result = score_again(
        run,
        tolerance=tolerance_from(ssim_min, lpips_max, psnr_min, tolerance),
        lpips_weights=lpips_weights,
    )
    finish(result)

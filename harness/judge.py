"""From scores to a verdict: pure, no pixels, no model."""

from __future__ import annotations

from harness.case import Case, Tolerance
from harness.reference.spec import FLEX2
from harness.runs.row import Verdict
from harness.scoring.scores import Scores

DEFAULT_TOLERANCE = Tolerance(ssim_min=0.985, lpips_max=0.02, psnr_min=40.0, source="harness default")
"""Limits for a case that sets none; provisional."""


def judge(scores: Scores | None, tolerance: Tolerance) -> tuple[Verdict, str]:
    """Judge codec-matched scores by limits.

    Returns:
        The verdict, and the reason in words with the numbers: every limit that was missed and by how much.
        Without scores the verdict is ``error``: nothing that was not compared reads as a match.
    """
    if scores is None:
        return Verdict.ERROR, "there are no scores: the re-run was not compared with its preview"
    if scores.pixels.identical:
        return Verdict.MATCH, "bit-identical after codec matching"
    if misses := _limits(scores, tolerance, within=False):
        return Verdict.DRIFT, "; ".join(misses)
    return Verdict.MATCH, "within limits: " + ", ".join(_limits(scores, tolerance, within=True))


def judge_sizes(case: Case, rendered_size: tuple[int, int]) -> str | None:
    """Return why preview and re-run are ``incomparable`` where their sizes differ, else None.

    Args:
        rendered_size: width and height of the re-run, pixels.
    """
    preview = (case.preview.width, case.preview.height)
    if preview == rendered_size:
        return None
    rule = _size_rule((case.settings.width, case.settings.height), preview)
    return (
        f"the preview is {_size(preview)} and the re-run {_size(rendered_size)}: {rule}; "
        "images are not resized to be compared"
    )


def _limits(scores: Scores, tolerance: Tolerance, *, within: bool) -> list[str]:
    """Say each limit that was kept (``within``) or missed, in words; not-a-number is a miss."""
    lines = [
        _limit("SSIM", scores.ssim, tolerance.ssim_min, lower=True, within=within, form=".4f"),
        _limit("LPIPS", scores.lpips, tolerance.lpips_max, lower=False, within=within, form=".4f"),
    ]
    if tolerance.psnr_min is not None and scores.psnr is not None:
        lines.append(
            _limit("PSNR", scores.psnr, tolerance.psnr_min, lower=True, within=within, form=".2f", unit=" dB")
        )
    return [line for line in lines if line]


def _limit(
    name: str, value: float, limit: float, *, lower: bool, within: bool, form: str, unit: str = ""
) -> str | None:
    kept = value >= limit if lower else value <= limit
    if kept != within:
        return None
    shown = f"{name} {value:{form}}{unit}"
    if within:
        return f"{shown} {'≥' if lower else '≤'} {limit:g}"
    return f"{shown} is {abs(value - limit):.3g}{unit} {'below' if lower else 'above'} the limit {limit:g}"


def _size_rule(asked: tuple[int, int], preview: tuple[int, int]) -> str:
    trainer = _trainer_size(asked)
    rule = (
        f"of {_size(asked)} asked for, the trainer floors to multiples of 8 and then {FLEX2.latent_divisor} "
        f"({_size(trainer)}), the reference to multiples of {FLEX2.divisor} ({_size(FLEX2.snap(*asked))})"
    )
    return rule if trainer == preview else f"{rule}, and neither is the preview's: were these its settings?"


def _trainer_size(asked: tuple[int, int]) -> tuple[int, int]:
    """Return AI Toolkit's size in pixels: at least 64, floored to 8, then to whole packed latents."""
    unit = FLEX2.latent_divisor
    width, height = (max(64, edge - edge % 8) // unit * unit for edge in asked)
    return width, height


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"

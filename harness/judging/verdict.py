"""From scores to a verdict: pure, no pixels, no model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness._util.words import size_text
from harness.metrics.scores import Scores, counted_psnr
from harness.schema.case import Case
from harness.schema.case_parts import OlderConfig
from harness.schema.metric_limits import Tolerance, measured_metrics, needed_metrics, set_limits
from harness.schema.result import NEAREST, Baseline, Verdict
from harness.schema.spec import ModelSpec

DEFAULT_TOLERANCE = Tolerance(ssim_min=0.967, lpips_max=0.01, psnr_min=30.7, source="harness default")
"""Limits for a case that sets none: a little wider than any valid bf16 re-run of a genuine job scored.

Measured on an H100 (0.9675, 0.0096, 30.8 dB) and three kinds of CPU; ``harness/data/calibration/`` has the
evidence, ``docs/decisions.md`` what passes too.
"""


@dataclass(frozen=True)
class Margin:
    """How much worse than its baseline a score may be before it is a regression; PSNR in dB."""

    ssim: float
    lpips: float
    psnr: float


SAME_ENVIRONMENT = Margin(ssim=0.018, lpips=0.004, psnr=9.0)
"""At least twice what another kernel or a batch changes of a case there: 0.0089, 0.0018, 4.1 dB."""

OTHER_ENVIRONMENT = Margin(ssim=0.036, lpips=0.0145, psnr=13.0)
"""At least twice what another kind of machine changes of a case: 0.0179, 0.0071, 6.5 dB, H100 against CPU."""


SAME_SSIM = 1e-5
"""Scores of equal images that differ by more went through another encoder."""


def judge_variant(
    case: Case, variant: str, scores: Scores | None, tolerance: Tolerance
) -> tuple[Verdict, str]:
    """Judge a variant of a case by limits; a render with a neighbouring checkpoint is never a match or drift.

    Returns:
        Verdict and reason, as ``judge``.
    """
    verdict, reason = judge(scores, tolerance, case.preview.older_config)
    if tolerance.provisional and scores is not None and not scores.pixels.identical:
        reason = f"{reason}; limits from {tolerance.source}, provisional"
    if variant in NEAREST and scores is not None:
        why = "rendered with a neighbouring checkpoint, which proves nothing alone"
        return Verdict.INCOMPARABLE, f"{why}: {reason}"
    return verdict, reason


def judge(
    scores: Scores | None, tolerance: Tolerance, older_config: OlderConfig | None = None
) -> tuple[Verdict, str]:
    """Judge codec-matched scores by limits.

    Args:
        older_config: how it is known that the settings are of a config that was written after the preview.

    Returns:
        The verdict, and the reason in words with the numbers: every limit that was missed and by how much.
        Without scores the verdict is ``error``: nothing that was not compared reads as a match.
    """
    if scores is None:
        return Verdict.ERROR, "there are no scores: the re-run was not compared with its preview"
    if scores.pixels.identical:
        return Verdict.MATCH, "bit-identical after codec matching"
    if misses := _limits(scores, tolerance, within=False):
        if older_config is not None:
            found = "was edited" if older_config is OlderConfig.COUNT else "was written again"
            why = f"the config {found} after this preview, and its settings may have been others"
            return Verdict.INCOMPARABLE, f"{why}: {'; '.join(misses)}"
        return Verdict.DRIFT, "; ".join(misses)
    if unmeasured := needed_metrics(tolerance) - measured_metrics(scores):
        names = ", ".join(sorted(unmeasured))
        return Verdict.INCOMPARABLE, f"limits are set on what was not measured: {names}"
    return Verdict.MATCH, "within limits: " + ", ".join(_limits(scores, tolerance, within=True))


def judge_baseline(
    verdict: Verdict, reason: str, scores: Scores | None, baseline: Baseline
) -> tuple[Verdict, str]:
    """Judge a re-run against what was accepted, once it was judged against its preview.

    Args:
        verdict: the verdict against the preview, with its ``reason``.
        scores: codec-matched scores against the preview, or None where there are none.
        baseline: what was accepted; ``identical`` compares pixels.

    Returns:
        ``regression`` where the re-run is worse than the baseline by more than the margin; else ``verdict``,
        with a reason that says whether the image is bit-equal, or changed, where, and what changed with it.
    """
    if verdict is Verdict.ERROR:
        return verdict, reason
    if baseline.identical:
        but = " (its latents are not)" if baseline.latents_identical is False else ""
        if scores and baseline.scores and abs(scores.ssim - baseline.scores.ssim) > SAME_SSIM:
            but += " (its scores are not: it changed in encoding the file)"
        return verdict, f"bit-equal to {_name(baseline)}{but}; {reason}"
    if worse := _worse(scores, baseline):
        return Verdict.REGRESSION, f"{worse}; {_place(baseline)}{_changes(baseline)}; {reason}"
    if not baseline.same_environment:
        return verdict, f"{verdict} (baseline of {baseline.environment}){_changes(baseline)}; {reason}"
    if verdict is baseline.verdict is Verdict.INCOMPARABLE and baseline.scores is None:
        return verdict, reason
    return verdict, f"{verdict} (changed): {_place(baseline)}{_changes(baseline)}; {reason}"


def _worse(scores: Scores | None, baseline: Baseline) -> str | None:
    """Say in words what is worse than the baseline by more than the margin, or None."""
    accepted = baseline.scores
    if accepted is None:
        return None
    if scores is None:
        return f"could be compared when it was accepted ({baseline.verdict}) and cannot now"
    margin = SAME_ENVIRONMENT if baseline.same_environment else OTHER_ENVIRONMENT
    was, now = (math.inf if found.psnr is None else found.psnr for found in (accepted, scores))
    losses = [
        ("SSIM", accepted.ssim, scores.ssim, accepted.ssim - scores.ssim, margin.ssim, ".4f"),
        ("LPIPS", accepted.lpips, scores.lpips, scores.lpips - accepted.lpips, margin.lpips, ".4f"),
        ("PSNR", was, now, counted_psnr(accepted.psnr) - counted_psnr(scores.psnr), margin.psnr, ".1f"),
    ]
    worse = [
        f"{name} {found:{form}} was {before:{form}} (margin {allowed:g})"
        for name, before, found, loss, allowed, form in losses
        if not loss <= allowed
    ]
    where = "" if baseline.same_environment else f" of {baseline.environment}"
    return f"worse than {_name(baseline)}{where}: {', '.join(worse)}" if worse else None


def _name(baseline: Baseline) -> str:
    return "its baseline" if baseline.of == 1 else f"accepted result {baseline.number} of {baseline.of}"


def _place(baseline: Baseline) -> str:
    """Say in words whether the change came in while denoising or while decoding."""
    if baseline.latents_identical is None:
        return "the image is not the accepted one"
    if baseline.latents_identical:
        return "the latents are the accepted ones, the decoded image is not: it changed in decoding"
    distance = baseline.latent_distance
    far = f" (relative L2 {distance.relative_l2:.4f}, cosine {distance.cosine:.6f})" if distance else ""
    if baseline.latents_unread:
        far = f" (how far is not known: {baseline.latents_unread})"
    return f"the latents are not the accepted ones{far}: it changed before decoding"


def _changes(baseline: Baseline) -> str:
    if not baseline.changes:
        return "; nothing recorded differs"
    return f"; {'since then' if baseline.same_environment else 'unlike there'}: {', '.join(baseline.changes)}"


def judge_sizes(case: Case, rendered_size: tuple[int, int]) -> str | None:
    """Return why preview and re-run are ``incomparable`` where their sizes differ, else None.

    Args:
        rendered_size: width and height of the re-run, pixels.
    """
    preview = case.preview.size
    if preview == rendered_size:
        return None
    rule = _size_rule(case.spec, (case.settings.width, case.settings.height), preview)
    return (
        f"the preview is {size_text(preview)} and the re-run {size_text(rendered_size)}: {rule}; "
        "images are not resized to be compared"
    )


def _limits(scores: Scores, tolerance: Tolerance, *, within: bool) -> list[str]:
    """Say each limit that was kept (``within``) or missed, in words; not-a-number is a miss."""
    lines = []
    for limit, bound in set_limits(tolerance):
        value = limit.value(scores)
        if value is None or limit.kept(value, bound) is not within:
            continue
        shown = f"{limit.label} {limit.shown(value)}"
        if within:
            lines.append(f"{shown} {limit.sign} {bound:g}")
        else:
            side = "below" if limit.sign == "≥" else "above"
            lines.append(f"{shown} is {abs(value - bound):.3g}{limit.unit} {side} the limit {bound:g}")
    return lines


def _size_rule(spec: ModelSpec, asked: tuple[int, int], preview: tuple[int, int]) -> str:
    trainer = spec.preview_size(*asked)
    rule = (
        f"of {size_text(asked)} asked for, the trainer floors to multiples of 8 and then "
        f"{spec.latent_divisor} ({size_text(trainer)}), the reference to multiples of {spec.divisor} "
        f"({size_text(spec.snap(*asked))})"
    )
    return rule if trainer == preview else f"{rule}, and neither is the preview's: were these its settings?"

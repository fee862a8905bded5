"""The limits of a match: for each metric its field among scores, its limit, and how both are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.errors import HarnessError
from harness.metrics.scores import METRIC_NAMES, MetricName, Perceptual, Scores
from harness.schema.fields import Strict


class Tolerance(Strict):
    """Limits within which a re-run counts as a match, on codec-matched scores."""

    ssim_min: float = Field(ge=-1, le=1)
    lpips_max: float = Field(ge=0)
    psnr_min: float | None = Field(None, description="dB; None sets no limit.")
    flip_max: float | None = Field(None, ge=0, le=1, description="Largest FLIP; None sets no limit.")
    ssimulacra2_min: float | None = Field(None, le=100, description="Least SSIMULACRA2; None sets no limit.")
    jod_min: float | None = Field(None, le=10, description="Least JOD of ColorVideoVDP; None sets no limit.")
    noise_ssim: float | None = Field(
        None, description="The worst SSIM of the case's equally valid re-runs when it was calibrated."
    )
    source: str = Field(description="Where the limits come from, e.g. 'calibrated 2026-11-20 on H100'.")
    provisional: bool = Field(
        False, description="They were measured on another kind of machine, torch or size."
    )


@dataclass(frozen=True)
class MetricLimit:
    """One metric's limit.

    Attributes:
        metric: field of ``Scores``, and the name in ``--tolerance ssim=0.98,…``.
        field: field of ``Tolerance``: ``…_min`` where more is better, ``…_max`` where less is.
        form: format of a value.
    """

    metric: Literal["ssim", "lpips", "psnr"] | MetricName
    field: str
    label: str
    form: str
    unit: str = ""

    @property
    def sign(self) -> str:
        """``≥`` or ``≤``."""
        return "≥" if self.field.endswith("_min") else "≤"

    def of(self, tolerance: Tolerance) -> float | None:
        """Return the limit that is set, or None."""
        found: float | None = getattr(tolerance, self.field)
        return found

    def value(self, scores: Scores) -> float | None:
        """Return what was measured; None where nothing was, and for the PSNR of identical images."""
        found: float | None = getattr(scores, self.metric)
        return found

    def kept(self, value: float, limit: float) -> bool:
        """Whether a value is within a limit; not-a-number is not."""
        return value >= limit if self.sign == "≥" else value <= limit

    def shown(self, value: float) -> str:
        """Return a value with its unit, e.g. ``38.20 dB``."""
        return f"{value:{self.form}}{self.unit}"


METRIC_LIMITS = (
    MetricLimit("ssim", "ssim_min", "SSIM", ".4f"),
    MetricLimit("lpips", "lpips_max", "LPIPS", ".4f"),
    MetricLimit("psnr", "psnr_min", "PSNR", ".2f", " dB"),
    MetricLimit("flip", "flip_max", "FLIP", ".4f"),
    MetricLimit("ssimulacra2", "ssimulacra2_min", "SSIMULACRA2", ".1f"),
    MetricLimit("jod", "jod_min", "ColorVideoVDP", ".2f", " JOD"),
)

NAMES: dict[str, str] = {limit.metric: limit.field for limit in METRIC_LIMITS}
"""Fields of ``Tolerance`` by the names that an option takes."""


def set_limits(tolerance: Tolerance) -> Iterator[tuple[MetricLimit, float]]:
    """Yield every limit that is set, with its value."""
    for limit in METRIC_LIMITS:
        if (bound := limit.of(tolerance)) is not None:
            yield limit, bound


def limits_in_words(tolerance: Tolerance) -> str:
    """Return the limits that are set, e.g. ``SSIM ≥ 0.967, LPIPS ≤ 0.01, PSNR ≥ 30.7 dB``."""
    return ", ".join(
        f"{limit.label} {limit.sign} {bound:g}{limit.unit}" for limit, bound in set_limits(tolerance)
    )


def metrics_from(text: str, source: str) -> tuple[MetricName, ...]:
    """Read names of metrics as an option gives them: ``flip,jod``, or ``all``.

    Raises:
        HarnessError: a name that is not known.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in {*METRIC_NAMES, "all"}:
            fix = f"write some of {', '.join(METRIC_NAMES)}, or all"
            raise HarnessError(f"{name!r} is not a metric", field=source, fix=fix)
    return tuple(name for name in METRIC_NAMES if name in names or "all" in names)


def needed_metrics(tolerance: Tolerance) -> set[MetricName]:
    """Return the metrics beside SSIM, LPIPS and PSNR that a limit is set on."""
    limited = {limit.metric for limit, _ in set_limits(tolerance)}
    return {name for name in METRIC_NAMES if name in limited}


def measured_metrics(scores: Perceptual) -> set[MetricName]:
    """Return which of them were measured."""
    return {name for name in METRIC_NAMES if getattr(scores, name) is not None}

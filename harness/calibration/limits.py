"""Limits half-way between the worst noise and the mildest signal: pure arithmetic on measured scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.calibration.controls import IN_A_BATCH, OTHER_KERNEL
from harness.errors import CalibrationError
from harness.judging.tolerance_file import Measured, Proposal
from harness.metrics.scores import METRIC_NAMES, counted_psnr
from harness.runs.t5_kernel import REPEAT
from harness.schema.metric_limits import NAMES, measured_metrics

UNASKED = (REPEAT, OTHER_KERNEL, IN_A_BATCH)
"""What may change from night to night with nothing changed in the case; a LoRA's mode is a setting."""


@dataclass(frozen=True)
class Gap:
    """One metric's worst noise and mildest signal, larger being better."""

    noise: float
    signal: float

    @property
    def separated(self) -> bool:
        """Every noise scores better than every signal."""
        return self.noise > self.signal

    @property
    def limit(self) -> float:
        """Half-way between; where the two overlap, the worst noise, so that nothing valid is called wrong."""
        return (self.noise + self.signal) / 2 if self.separated else self.noise


def propose(measured: Sequence[Measured]) -> Proposal:
    """Return the limits that noise and signal leave room for.

    Raises:
        CalibrationError: there is no noise or no signal to put a limit between.
    """
    noise = [entry for entry in measured if entry.kind == "noise"]
    signal = [entry for entry in measured if entry.kind == "signal"]
    if not noise or not signal:
        raise CalibrationError(
            f"{len(noise)} noise and {len(signal)} signal controls were scored: both are needed",
            fix="give cases that can be re-run and compared",
        )
    gaps = {
        name: Gap(min(map(METRICS[name], noise)), max(map(METRICS[name], signal)))
        for name in _measured_everywhere(measured)
    }
    limits = {NAMES[name]: _limit(name, gap) for name, gap in gaps.items()}
    return Proposal(
        **limits,
        separated=[name for name, gap in gaps.items() if gap.separated],
        overlap=[name for name, gap in gaps.items() if not gap.separated],
        margin={name: round(gap.noise - gap.signal, 4) for name, gap in gaps.items()},
        undetected=sorted({entry.control for entry in signal if _passes(entry, limits)}),
    )


def _limit(name: str, gap: Gap) -> float:
    """Return a limit as it is written: rounded to the lenient side."""
    digits = DIGITS[name]
    rounded: float = math.floor(gap.limit * 10**digits) / 10**digits
    return rounded if NAMES[name].endswith("_min") else -rounded


def _passes(entry: Measured, limits: dict[str, float]) -> bool:
    """Whether these limits let a control pass."""
    return all(
        of(entry) >= (limit if NAMES[name].endswith("_min") else -limit)
        for name, of in METRICS.items()
        if (limit := limits.get(NAMES[name])) is not None
    )


def _measured_everywhere(measured: Sequence[Measured]) -> list[str]:
    """Return the metrics that every control has: SSIM, LPIPS, PSNR and what was measured beside them."""
    common = set(METRIC_NAMES).intersection(*(measured_metrics(entry) for entry in measured))
    return [name for name in METRICS if name not in METRIC_NAMES or name in common]


def noise_range(evidence: Iterable[Sequence[Measured]]) -> dict[str, float]:
    """Return the most that one equally valid re-run of a case loses against another, its LoRA alike.

    Args:
        evidence: what was measured, case by case; PSNR in dB.
    """
    noise = [
        [entry for entry in measured if entry.kind == "noise" and entry.control in UNASKED]
        for measured in evidence
    ]
    return {
        name: max((max(map(of, case)) - min(map(of, case)) for case in noise if case), default=0.0)
        for name, of in METRICS.items()
        if name not in METRIC_NAMES
    }


METRICS: dict[str, Callable[[Measured], float]] = {
    "ssim": lambda entry: entry.ssim,
    "lpips": lambda entry: -entry.lpips,
    "psnr": lambda entry: counted_psnr(entry.psnr),
    "flip": lambda entry: -(entry.flip or 0.0),
    "ssimulacra2": lambda entry: entry.ssimulacra2 or 0.0,
    "jod": lambda entry: entry.jod or 0.0,
}
"""Each metric so that more is better."""

DIGITS = {"ssim": 4, "lpips": 4, "psnr": 1, "flip": 4, "ssimulacra2": 1, "jod": 3}

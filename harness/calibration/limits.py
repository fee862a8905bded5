"""Limits half-way between the worst noise and the mildest signal: pure arithmetic on measured scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.calibration.controls import IN_A_BATCH, OTHER_KERNEL, REPEAT
from harness.errors import CalibrationError
from harness.judging.tolerance_file import Measured, Proposal
from harness.metrics.scores import counted_psnr

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
    gaps = {name: Gap(min(map(of, noise)), max(map(of, signal))) for name, of in METRICS.items()}
    ssim_min = math.floor(gaps["ssim"].limit * 1e4) / 1e4
    lpips_max = math.ceil(-gaps["lpips"].limit * 1e4) / 1e4
    psnr_min = math.floor(gaps["psnr"].limit * 10) / 10
    return Proposal(
        ssim_min=ssim_min,
        lpips_max=lpips_max,
        psnr_min=psnr_min,
        separated=[name for name, gap in gaps.items() if gap.separated],
        overlap=[name for name, gap in gaps.items() if not gap.separated],
        margin={name: round(gap.noise - gap.signal, 4) for name, gap in gaps.items()},
        undetected=sorted({
            entry.control for entry in signal
            if entry.ssim >= ssim_min and entry.lpips <= lpips_max and counted_psnr(entry.psnr) >= psnr_min
        }),
    )  # fmt: skip


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
    }


METRICS = {
    "ssim": lambda entry: entry.ssim,
    "lpips": lambda entry: -entry.lpips,
    "psnr": lambda entry: counted_psnr(entry.psnr),
}

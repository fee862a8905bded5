"""The file that ``harness calibrate`` writes: limits by environment and case, with their evidence."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from harness._util.atomic_files import write_json
from harness._util.validation import read_model
from harness.errors import CalibrationError
from harness.metrics.scores import Record
from harness.schema.case import Tolerance


class Measured(Record):
    """One re-run of a case under one control, scored against the case's preview (or its plain re-run)."""

    control: str
    kind: str = Field(description="'noise': equally valid; 'signal': deliberately wrong.")
    ssim: float
    lpips: float
    psnr: float | None = Field(description="dB; None where the images are identical.")


class Proposal(Record):
    """Limits for one case or for all of them: half-way between the worst noise and the mildest signal."""

    ssim_min: float
    lpips_max: float
    psnr_min: float | None
    separated: list[str] = Field(description="Metrics in which noise and signal do not overlap.")
    overlap: list[str] = Field(description="Metrics in which they do: no limit there tells them apart.")
    margin: dict[str, float] = Field(description="Mildest signal minus worst noise, in the metric's unit.")
    undetected: list[str] = Field(description="Wrong settings that these limits would let pass.")


class Environment(Record):
    """What was found on one kind of machine."""

    date: str
    command: str
    fingerprint: dict[str, object]
    all_cases: Proposal
    cases: dict[str, Proposal]
    evidence: dict[str, list[Measured]]


def worst_noise(measured: list[Measured]) -> float | None:
    """Return the lowest SSIM among equally valid re-runs; None where none was measured."""
    return min((each.ssim for each in measured if each.kind == "noise"), default=None)


class ToleranceFile(Record):
    """Proposals by environment key."""

    environments: dict[str, Environment]

    @classmethod
    def load(cls, path: Path) -> ToleranceFile:
        """Read a tolerance file.

        Raises:
            CalibrationError: missing, or not what ``harness calibrate`` writes.
        """
        make = "make one with harness calibrate"
        return read_model(path, cls, CalibrationError, fix="calibrate again", missing_fix=make)

    def save(self, path: Path) -> None:
        """Write the file: sorted keys, whole or not at all."""
        write_json(path, self.model_dump(mode="json"), sort_keys=True)

    def tolerance(self, case_id: str, environment: str) -> Tolerance | None:
        """Return the limits for a case in an environment; those of all cases where it has none of its own."""
        found = self.environments.get(environment)
        if found is None:
            return None
        own = found.cases.get(case_id)
        proposal = own or found.all_cases
        of = "this case" if own else "all cases"
        return Tolerance(
            ssim_min=proposal.ssim_min,
            lpips_max=proposal.lpips_max,
            psnr_min=proposal.psnr_min,
            noise_ssim=worst_noise(found.evidence.get(case_id, [])),
            source=f"calibrated {found.date} on {environment}, {of}",
        )

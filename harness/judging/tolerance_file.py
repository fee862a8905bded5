"""The file that ``harness calibrate`` writes: limits by environment and case, with their evidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from harness._util.atomic_files import write_json
from harness._util.validation import read_model
from harness._util.words import size_text
from harness.errors import CalibrationError
from harness.judging.baseline import environment_key
from harness.metrics.scores import Perceptual, Record
from harness.schema.case import Case
from harness.schema.metric_limits import NAMES, Tolerance


class Measured(Perceptual):
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
    flip_max: float | None = None
    ssimulacra2_min: float | None = None
    jod_min: float | None = None
    separated: list[str] = Field(description="Metrics in which noise and signal do not overlap.")
    overlap: list[str] = Field(description="Metrics in which they do: no limit there tells them apart.")
    margin: dict[str, float] = Field(description="Mildest signal minus worst noise, in the metric's unit.")
    undetected: list[str] = Field(description="Wrong settings that these limits would let pass.")

    def tolerance(
        self, source: str, *, noise_ssim: float | None = None, provisional: bool = False
    ) -> Tolerance:
        """Return them as the limits of a case."""
        limits = {field: getattr(self, field) for field in NAMES.values()}
        return Tolerance(**limits, source=source, noise_ssim=noise_ssim, provisional=provisional)


class Environment(Record):
    """What was found on one kind of machine."""

    date: str
    command: str
    fingerprint: dict[str, Any]
    sizes: list[str] = Field(default_factory=list, description="Sizes of the previews, e.g. 1024×1024.")
    all_cases: Proposal
    cases: dict[str, Proposal]
    evidence: dict[str, list[Measured]]

    @property
    def where(self) -> str:
        """Where the limits hold: GPU or processor, torch, sizes."""
        gpu = self.fingerprint.get("gpu")
        name = gpu["name"] if gpu else f"CPU with {self.fingerprint.get('cpu_bf16', 'unknown')} bf16"
        return ", ".join([name, f"torch {_torch(self.fingerprint)}", *self.sizes])

    def holds_in(self, environment: Mapping[str, Any], size: str) -> bool:
        """Whether an environment and a size are those that were measured; older files name no sizes."""
        return (
            environment_key(environment) == environment_key(self.fingerprint)
            and _torch(environment) == _torch(self.fingerprint)
            and (not self.sizes or size in self.sizes)
        )


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

    def tolerance(self, case: Case, environment: Mapping[str, Any]) -> Tolerance | None:
        """Return the limits for a case in an environment; those of all cases where it has none of its own.

        Where nothing was measured on its kind of machine, they are the newest of another kind. Those, and
        limits of another torch or another size, are provisional.
        """
        found = self._measured_on(environment_key(environment))
        if found is None:
            return None
        own = found.cases.get(case.id)
        of = "this case" if own else "all cases"
        provisional = not found.holds_in(environment, size_text(case.preview.size))
        noise = None if provisional else worst_noise(found.evidence.get(case.id, []))
        return (own or found.all_cases).tolerance(
            source=f"{found.where}, calibrated {found.date}, {of}", noise_ssim=noise, provisional=provisional
        )

    def _measured_on(self, key: str) -> Environment | None:
        newest = max(self.environments.values(), key=lambda each: each.date, default=None)
        return self.environments.get(key, newest)


def _torch(environment: Mapping[str, Any]) -> str:
    """Return the version of torch, without the build's name."""
    return str(environment.get("packages", {}).get("torch", "unknown")).partition("+")[0]

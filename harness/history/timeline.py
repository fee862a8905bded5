"""Read many run folders as one history."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RunError
from harness.history.changes import flickers, steps
from harness.judging.baseline import environment_key
from harness.runs.folder import MANIFEST, read_manifest, read_rows
from harness.runs.plan import REFERENCE
from harness.schema.result import Row

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4


@dataclass(frozen=True)
class Night:
    """One case in one run."""

    run: str
    created: str
    row: Row


@dataclass(frozen=True)
class Series:
    """One case on one kind of machine, in order of time.

    Attributes:
        flickers: it only flips between two images, or two scores; its steps are not reported.
        steps: indices of ``nights`` at which the SSIM reached a new level.
    """

    case: str
    environment: str
    nights: list[Night]
    flickers: bool
    steps: list[int]

    def findings(self) -> list[str]:
        """Return what was found, in words; empty for a series that holds its level."""
        if self.flickers:
            return ["flickers between two states: no step, and no regression either"]
        return [self._step(index) for index in self.steps]

    def _step(self, index: int) -> str:
        before, after = self.nights[index - 1], self.nights[index]
        return f"SSIM stepped from {before.row.ssim:.4f} to {after.row.ssim:.4f} at {after.run}"


def read_history(root: Path, case: str | None = None) -> list[Series]:
    """Return the series of every case, or of one, from all run folders directly under ``root``.

    Raises:
        RunError: no run folder is there, none holds the case, or a row cannot be read.
    """
    runs = sorted(path.parent for path in root.glob(f"*/{MANIFEST}"))
    if not runs:
        raise RunError("holds no run folder", file=root, fix="give the folder that holds them, e.g. reports")
    nights: dict[tuple[str, str], list[Night]] = defaultdict(list)
    for run in runs:
        created = str(read_manifest(run).get("created", ""))
        for row in read_rows(run):
            if row.variant == REFERENCE and case in {None, row.case}:
                key = row.case, environment_key(row.environment)
                nights[key].append(Night(run.name, created, row))
    if case is not None and not nights:
        raise RunError(f"no run holds the case {case!r}", file=root, fix="see a report for ids")
    return [_series(*key, sorted(nights[key], key=_when)) for key in sorted(nights)]


def history_frame(history: list[Series]) -> pd.DataFrame:
    """Return one line per case and run: time, machine, verdict, scores; PSNR in dB."""
    import pandas as pd

    return pd.DataFrame([
        {
            "case": series.case, "environment": series.environment,
            "run": night.run, "created": night.created,
            "verdict": night.row.verdict.value, "ssim": night.row.ssim, "lpips": night.row.lpips,
            "psnr": night.row.psnr, "image_sha256": night.row.image_sha256,
        }
        for series in history for night in series.nights
    ])  # fmt: skip


def _series(case: str, environment: str, nights: list[Night]) -> Series:
    scored = [index for index, night in enumerate(nights) if night.row.ssim is not None]
    values = [night.row.ssim for night in nights if night.row.ssim is not None]
    images = [nights[index].row.image_sha256 for index in scored]
    flicker = flickers(images) or flickers([round(value, DIGITS) for value in values])
    return Series(case, environment, nights, flicker, [] if flicker else [scored[at] for at in steps(values)])


def _when(night: Night) -> tuple[str, str]:
    return night.created, night.run

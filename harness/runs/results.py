"""A finished run as typed results and as a pandas frame."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.judging.set_verdict import SetVerdict, judge_sets
from harness.runs.run_files import read_manifest, read_rows
from harness.runs.run_identity import CASES
from harness.schema.result import Row, Verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult:
    """A run: its folder, its rows in the order of their cases, and the cases that have none yet."""

    folder: Path
    rows: list[Row]
    missing: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[Verdict]:
        """How many rows have each verdict."""
        return Counter(row.verdict for row in self.rows)

    @property
    def drifting_sets(self) -> list[SetVerdict]:
        """Jobs whose cases drift together, whatever each of them says alone."""
        return [found for found in judge_sets(self.rows) if found.drifts]

    @property
    def exit_code(self) -> int:
        """0: all match, or are accepted as they are; 1: some are not, or have no row; 3: a render failed.

        A job whose cases drift together is 1 too.
        """
        if self.counts[Verdict.ERROR]:
            return 3
        fine = all(row.verdict is Verdict.MATCH or row.known for row in self.rows) and not self.drifting_sets
        return 0 if self.rows and fine and not self.missing else 1

    def frame(self) -> pd.DataFrame:
        """Return one line per row; ``psnr`` is in dB and infinite where the images are identical."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])


def load_run(folder: str | os.PathLike[str]) -> RunResult:
    """Return a saved run, without loading a model."""
    folder = Path(folder)
    rows = sorted(read_rows(folder), key=lambda row: (row.case, row.variant))
    planned = read_manifest(folder)["identity"].get(CASES, [])
    return RunResult(folder, rows, sorted(set(planned) - {row.case for row in rows}))


def _flat(row: Row) -> dict[str, Any]:
    identical = row.pixels is not None and row.pixels.identical
    return {
        "case": row.case,
        "variant": row.variant,
        "verdict": row.verdict.value,
        "ssim": row.ssim,
        "lpips": row.lpips,
        "psnr": float("inf") if identical else row.psnr,
        "identical": identical,
        "raw_ssim": row.raw.ssim if row.raw else None,
        "floor_ssim": row.codec_floor.ssim if row.codec_floor else None,
        "reason": row.reason,
        "seconds": row.seconds.get("render"),
    }

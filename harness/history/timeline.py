"""Read many run folders as one history."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness._util.words import id_hint
from harness.errors import HarnessError, RunError
from harness.history.changes import flickers, steps
from harness.judging.baseline import environment_key
from harness.runs.run_files import MANIFEST, read_manifest, read_rows
from harness.schema.result import REFERENCE, Row

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4

MIN_UNSEEN = 20
"""Runs without one of several accepted results after which the history proposes to drop it."""


@dataclass(frozen=True)
class Observation:
    """One case in one run."""

    run: str
    created: str
    row: Row


@dataclass(frozen=True)
class Series:
    """One case on one kind of machine, in order of time.

    Attributes:
        flickers: it only flips between two images, or two scores; its steps are not reported.
        steps: indices of ``observations`` at which the SSIM reached a new level; switches between accepted
            results are none.
        unknown: indices of ``observations`` that show none of several accepted results.
        idle: accepted results that were not seen for ``MIN_UNSEEN`` runs, by their number in the baseline.
        keep: the latest run of every other accepted result; empty unless one is idle.
    """

    case: str
    environment: str
    observations: list[Observation]
    flickers: bool
    steps: list[int]
    unknown: list[int]
    idle: list[int]
    keep: list[str]

    def findings(self) -> list[str]:
        """Return what was found, in words; empty for a series that holds its level."""
        found = [self._unknown(index) for index in self.unknown[:1]]
        if self.idle:
            found.append(self._drop())
        if self.flickers:
            return [*found, "flickers between two states: no step, and no regression either"]
        return [*found, *(self._step(index) for index in self.steps)]

    def _step(self, index: int) -> str:
        before, after = self.observations[index - 1], self.observations[index]
        return f"SSIM stepped from {before.row.ssim:.4f} to {after.row.ssim:.4f} at {after.run}"

    def _drop(self) -> str:
        numbers = " and ".join(map(str, self.idle))
        first, *others = self.keep
        also = f", then {' and '.join(others)} with --also" if others else ""
        what = "result" if len(self.idle) == 1 else "results"
        return (
            f"accepted {what} {numbers} not seen in the last {MIN_UNSEEN} runs: to drop "
            f"{'it' if len(self.idle) == 1 else 'them'}, accept {first} without --also{also}"
        )

    def _unknown(self, index: int) -> str:
        baseline = self.observations[index].row.baseline
        assert baseline is not None
        return f"new result at {self.observations[index].run}, none of the {baseline.of} accepted ones"


def read_history(
    root: str | os.PathLike[str], case: str | None = None, *, damaged: list[HarnessError] | None = None
) -> list[Series]:
    """Return the series of every case, or of one, from all run folders directly under ``root``.

    Args:
        damaged: takes what is wrong with each run that cannot be read, and the others are read all the same;
            None raises the first one.

    Raises:
        RunError: no run folder is there, none holds the case, or a run cannot be read.
    """
    root = Path(root)
    runs = sorted(path.parent for path in root.glob(f"*/{MANIFEST}"))
    if not runs:
        raise RunError("holds no run folder", file=root, fix="give the folder that holds them, e.g. reports")
    observations: dict[tuple[str, str], list[Observation]] = defaultdict(list)
    ids: set[str] = set()
    for run in runs:
        try:
            found = _observations(run)
        except RunError as error:
            if damaged is None:
                raise
            damaged.append(error)
            continue
        ids |= {each.row.case for each in found}
        for each in found:
            if each.row.variant == REFERENCE and case in {None, each.row.case}:
                observations[each.row.case, environment_key(each.row.environment)].append(each)
    if case is not None and not observations:
        raise RunError(f"no run holds the case {case!r}", file=root, fix=id_hint(case, ids))
    return [_series(*key, sorted(observations[key], key=_when)) for key in sorted(observations)]


def _observations(run: Path) -> list[Observation]:
    created = str(read_manifest(run).get("created", ""))
    return [Observation(run.name, created, row) for row in read_rows(run)]


def history_frame(history: list[Series]) -> pd.DataFrame:
    """Return one line per case and run: time, machine, verdict, scores; PSNR in dB."""
    import pandas as pd

    return pd.DataFrame([
        {
            "case": series.case, "environment": series.environment, "run": found.run,
            "created": found.created, "verdict": found.row.verdict.value, "ssim": found.row.ssim,
            "lpips": found.row.lpips, "psnr": found.row.psnr, "image_sha256": found.row.image_sha256,
        }
        for series in history for found in series.observations
    ])  # fmt: skip


def _series(case: str, environment: str, observations: list[Observation]) -> Series:
    scored = [index for index, found in enumerate(observations) if found.row.ssim is not None]
    values = [observations[index].row.ssim or 0.0 for index in scored]
    images = [observations[index].row.image_sha256 for index in scored]
    several = _since_several_accepted(observations)
    unknown = [index for index in several if not _is_accepted(observations[index])]
    flicker = not several and (flickers(images) or flickers([round(value, DIGITS) for value in values]))
    accepted = {observations[index].row.image_sha256 for index in set(several) - set(unknown)}
    places = [] if flicker else steps(values)
    at = [scored[place] for place in places if not {images[place - 1], images[place]} <= accepted]
    idle, keep = _idle([observations[index] for index in several])
    return Series(case, environment, observations, flicker, at, unknown, idle, keep)


def _since_several_accepted(observations: list[Observation]) -> list[int]:
    """Return the last observations judged against the same number of accepted results, if several.

    Those without a baseline are passed over: a render that failed says nothing about accepted results.
    """
    judged = [
        (index, found.row.baseline.of) for index, found in enumerate(observations) if found.row.baseline
    ]
    several: list[int] = []
    for index, of in reversed(judged):
        if of == 1 or of != judged[-1][1]:
            break
        several.insert(0, index)
    return several


def _is_accepted(observation: Observation) -> bool:
    baseline = observation.row.baseline
    return baseline is not None and baseline.identical


def _idle(observations: list[Observation]) -> tuple[list[int], list[str]]:
    """Return the accepted results that were not seen for long, and the latest run of each of the others."""
    recent = observations[-MIN_UNSEEN:]
    seen = {
        found.row.baseline.number: found.run for found in recent if found.row.baseline and _is_accepted(found)
    }
    if len(recent) < MIN_UNSEEN or not seen or (last := recent[-1].row.baseline) is None:
        return [], []
    idle = sorted(set(range(1, last.of + 1)) - set(seen))
    return idle, list(seen.values()) if idle else []


def _when(observation: Observation) -> tuple[str, str]:
    return observation.created, observation.run

"""A case with two valid results on one machine: which of 30 nights alarm, before and after both are accepted?

    python benchmarks/bistable.py FOLDER

One preview of the shipped job is rendered every night by one of two attention kernels, drawn at random
(seed 1). Then 20 nights by one of them alone, and two with a third result: another batch size, which is as
valid, and half the shift. What a kernel gives is rendered once; every night scores and judges it anew.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.calibration.controls import OTHER_ATTENTION, controls
from harness.history.timeline import MIN_UNSEEN, read_history
from harness.importers.aitoolkit import import_job
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.accept import accept_run
from harness.runs.plan import RunOptions
from harness.runs.run import run_cases
from harness.schema.case import Case, load_cases
from harness.schema.render import OnStep, Render, Renderer, RenderRequest
from harness.schema.result import Row

JOB = Path(__file__).parents[1] / "harness/data/jobs/emoji_inkprint"
CASE = "000000300_2"
NIGHTS = 30


@dataclass
class Tonight(Renderer):
    """The reference pipeline with what the machine chooses tonight."""

    real: ReferenceRenderer
    kind: str = "native"
    made: dict[RenderRequest, Render] = field(default_factory=dict)

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render with tonight's kernel."""
        if self.kind == "math":
            request = replace(request, attention=OTHER_ATTENTION)
        elif self.kind == "batch of two":
            request = replace(request, batch=2)
        elif self.kind == "half the shift":
            (control,) = (each for each in controls(request, None) if each.name == self.kind)
            request = control.request
        if request not in self.made:
            self.made[request] = self.real.render(request, on_step)
        return self.made[request]

    def close(self) -> None:
        """Keep the pipeline for the next night."""


def main() -> None:
    """Print what each night says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a new folder")
    folder = parser.parse_args().folder
    import_job(JOB, out=folder / "cases")
    cases = [case for case in load_cases([folder / "cases"]) if case.id.endswith(CASE)]
    renderer, draw = Tonight(ReferenceRenderer(device="cpu")), random.Random(1)

    def night(kind: str, number: int, root: str) -> Row:
        renderer.kind = kind
        options = RunOptions(device="cpu", baselines=folder / root)
        out = folder / f"nights-{root}" / f"night-{number:02}"
        (row,) = run_cases(cases, out=out, options=options, renderer=renderer).rows
        return row

    for root, also in (("one", False), ("both", True)):
        night("native", 0, root)
        accept(folder, root, 0, cases)
        if also:
            night("math", 1, root)
            accept(folder, root, 1, cases, also=True)
        kinds = [draw.choice(("native", "math")) for _ in range(NIGHTS)]
        rows = [night(kind, number, root) for number, kind in enumerate(kinds, 2)]
        alarming = sum(alarms(row) for row in rows)
        print(f"{root} accepted: {alarming} of {NIGHTS} nights alarm, {findings(folder, root)}", flush=True)
    rows = [night("native", number, "both") for number in range(NIGHTS + 2, NIGHTS + 2 + MIN_UNSEEN)]
    print(f"then native: {sum(map(alarms, rows))} of {MIN_UNSEEN} nights alarm, {findings(folder, 'both')}")
    for number, kind in enumerate(("batch of two", "half the shift"), NIGHTS + 2 + MIN_UNSEEN):
        row = night(kind, number, "both")
        print(f"then {kind}: {row.verdict}, alarms: {alarms(row)}, {findings(folder, 'both')}")
        print(f"  {row.reason}")


def accept(folder: Path, root: str, number: int, cases: list[Case], *, also: bool = False) -> None:
    """Accept a night's result."""
    run = folder / f"nights-{root}" / f"night-{number:02}"
    accept_run(run, [case.id for case in cases], root=folder / root, reason="valid", also=also)


def alarms(row: Row) -> bool:
    """Whether the night is named by anyone: it failed, or it matches and is said to have changed."""
    return row.changed or not (row.verdict == "match" or row.known)


def findings(folder: Path, root: str) -> str:
    """Return what the history says."""
    (series,) = read_history(folder / f"nights-{root}")
    return f"history: {'; '.join(series.findings()) or 'nothing'}"


if __name__ == "__main__":
    main()

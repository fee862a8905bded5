"""Run cases: check everything, then render, score, judge and store."""

from __future__ import annotations

import os
from pathlib import Path

from harness._util.signals import deliver_interrupts
from harness.runs.machine import machine_of
from harness.runs.plan import Planner, RunOptions, plan
from harness.runs.preflight import Preflight
from harness.runs.progress import Progress
from harness.runs.results import RunResult, load_run
from harness.runs.session import open_run
from harness.runs.setup import Setup
from harness.schema.case import Case
from harness.schema.render import Renderer


def run_cases(
    cases: list[Case],
    *,
    out: str | os.PathLike[str],
    options: RunOptions | None = None,
    progress: Progress | None = None,
    renderer: Renderer | None = None,
    planner: Planner = plan,
    grows: bool = False,
) -> RunResult:
    """Re-render every case, score it against its preview and judge it; rows are stored as they finish.

    A folder that holds an unfinished run of the same cases and options is resumed. What the reference would
    render is taken from this run or one beside it where everything that decides the pixels is the same.
    With ``options.copy_to``, a folder without rows begins with those at the URL.

    Args:
        out: the run folder.
        renderer: the system under test; the reference pipeline unless given.
        planner: plans what is rendered: every case as recorded, unless it is a sweep.
        grows: the cases may come to others that ``out`` has rows of already.

    Raises:
        HarnessError: bad input; found before anything is rendered.
        CopyError: the run is done, and its copy at ``options.copy_to`` is not complete.
    """
    out = Path(out)
    options = options or RunOptions()
    with deliver_interrupts(), machine_of(options) as machine:
        planned = planner(cases, options, machine.device)
        if machine.system is not None:
            for item in planned:
                if item.request is not None:
                    machine.system.check(item.request)
        setup = Setup(planned, machine, Preflight().check(planned, options), options, grows=grows)
        with open_run(setup, out, renderer=renderer, progress=progress) as session:
            session.run(planned)
    return load_run(out)

"""Run cases: check everything, then render, score, judge and store one after the other."""

from __future__ import annotations

import datetime
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness._util.signals import deliver_interrupts
from harness.pipeline.load import choose_device
from harness.runs.case_runner import CaseRunner, Outcome, against_accepted, tolerance_of
from harness.runs.dispatch import spread
from harness.runs.environment import environment
from harness.runs.folder import RunFolder, write_rows
from harness.runs.mirror import Copy
from harness.runs.pending_renders import Waiting
from harness.runs.plan import Planned, Planner, RunOptions, plan
from harness.runs.preflight import memory_lines, preflight
from harness.runs.queue import Desk
from harness.runs.render_cache import Keys
from harness.runs.renderers import Crew, joined
from harness.runs.rescore import judge_again
from harness.runs.results import RunResult, load_run
from harness.runs.scorer import Scorer
from harness.runs.scoring_pool import default_workers, scoring
from harness.schema.case import Case
from harness.schema.render import Renderer
from harness.schema.result import Row, Verdict

if TYPE_CHECKING:
    from harness.runs.ray import Cluster


class Progress(Protocol):
    """What a run tells about its progress."""

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """The run begins with ``todo``; ``done`` other cases already have rows."""

    def told(self, line: str) -> None:
        """Something to know before the first render, in one line."""

    def case_started(self, planned: Planned) -> None:
        """A case begins."""

    def step_done(self, done: int, total: int) -> None:
        """``done`` of ``total`` denoising steps of the current case are made."""

    def case_done(self, row: Row) -> None:
        """A row was stored."""


def run_cases(
    cases: list[Case],
    *,
    out: Path,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    renderer: Renderer | None = None,
    planner: Planner = plan,
) -> RunResult:
    """Re-render every case, score it against its preview and judge it; rows are stored as they finish.

    A folder that holds an unfinished run of the same cases and options is resumed. What the reference would
    render is taken from this run or one beside it where everything that decides the pixels is the same.
    With ``options.copy_to``, a folder without rows begins with those at the URL.

    Args:
        out: the run folder.
        renderer: the system under test; the reference pipeline unless given.
        planner: plans what is rendered: every case as recorded, unless it is a sweep.

    Raises:
        HarnessError: bad input; found before anything is rendered.
        CopyError: the run is done, and its copy at ``options.copy_to`` is not complete.
    """
    options = options or RunOptions()
    with deliver_interrupts(), joined(options) as cluster:
        if cluster is not None:
            device, facts = cluster.facts.device, cluster.facts.environment
        else:
            device = choose_device(options.device)
            facts = environment(device)
        planned = planner(cases, options, device)
        _run(cases, planned, out, options, progress, device, facts, renderer, cluster)
    return load_run(out)


def _run(
    cases: list[Case],
    planned: list[Planned],
    out: Path,
    options: RunOptions,
    progress: Progress | None,
    device: str,
    facts: dict[str, Any],
    renderer: Renderer | None,
    cluster: Cluster | None,
) -> None:
    bases = preflight(planned, options)
    scorer = Scorer(options.lpips_weights)
    identity = {
        **options.identity(),
        "cases": sorted(case.id for case in cases),
        "bases": {name: checkpoint.revision for name, checkpoint in bases.items()},
        "environment": facts,
    }
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    about = {"created": created, "environment": facts}
    copy = None
    if options.copy_to is not None:
        copy = Copy(out, options.copy_to, progress.told if progress is not None else None)
        copy.check(identity)
    fetch = copy.fetch if copy is not None else None
    with RunFolder(out, identity, about, fetch) as folder, copy or nullcontext():
        renderers = len(cluster.renderers) if cluster is not None else len(options.gpus) or 1
        workers = options.score_workers
        if workers is None:
            workers = default_workers(device, renderers)
        waiting = Waiting(out, keeps=workers > 0 or renderers > 1)
        todo = _todo(folder, waiting, planned, options)
        if progress is not None:
            progress.started(out, todo, len(planned) - len(todo))
            free = cluster.facts.free if cluster is not None else None
            for line in memory_lines(bases, options, device, free):
                progress.told(line)
        keys = Keys({name: base.revision for name, base in bases.items()}, {**facts, **options.reaching()})
        crew = Crew(options, device, keys, out, todo, renderer, cluster)
        on_step = progress.step_done if progress is not None else None
        runner = CaseRunner(folder, crew.renderers[0], scorer, options, facts, on_step, waiting)

        def stored(row: Row) -> None:
            crew.learn(row)
            if progress is not None:
                progress.case_done(row)

        pool = scoring(scorer, options.lpips_weights, workers if todo else 0)
        with Desk(runner, pool, stored) as desk:
            try:
                _render(runner, todo, crew, desk, progress)
            finally:
                crew.close()  # beside the last scores
        if len(crew.renderers) > 1:
            write_rows(
                out, [folder.done[place] for item in planned if (place := _place(item)) in folder.done]
            )


def _render(
    runner: CaseRunner, todo: list[Planned], crew: Crew, desk: Desk, progress: Progress | None
) -> None:
    """Hand in every render; of several renderers, as they finish."""
    if len(crew.renderers) == 1:
        for item in todo:
            if progress is not None:
                progress.case_started(item)
            desk.put(item, runner.render(item))
        return

    def put(item: Planned, outcome: Outcome) -> None:
        if progress is not None:
            progress.case_started(item)
        desk.put(item, outcome)

    spread(runner, todo, crew.renderers, put)


def _place(item: Planned) -> tuple[str, str]:
    return (item.case.id, item.variant)


def _todo(folder: RunFolder, waiting: Waiting, planned: list[Planned], options: RunOptions) -> list[Planned]:
    """Return what has no row that holds; a render that waits for any other row is removed."""
    todo = []
    for item in planned:
        there = _already(folder, item, options)
        if there or options.fresh:
            waiting.drop(item)
        if not there:
            todo.append(item)
    return todo


def _already(folder: RunFolder, item: Planned, options: RunOptions) -> bool:
    """Say whether ``item`` has a row that still holds; where limits or baseline changed, judge it again."""
    row = folder.done.get(_place(item))
    if options.fresh or row is None or row.key != item.key or row.verdict is Verdict.ERROR:
        return False
    tolerance = tolerance_of(item.case, options, row.environment)
    if options.baselines is not None and row.scores is not None:
        judged = against_accepted(judge_again(row.model_copy(update={"baseline": None}), tolerance), options)
    else:
        judged = judge_again(row, tolerance) if row.tolerance != tolerance else row
    if judged != row:
        folder.append(judged)
    return True

"""Run cases: check everything, then render, score, judge and store one after the other."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Protocol

from harness.case import Case
from harness.errors import CaseError
from harness.renderer import Renderer
from harness.runs.plan import Planned, RunOptions, plan
from harness.runs.rescore import judge_again
from harness.runs.results import RunResult, load_run
from harness.runs.row import Row, Verdict
from harness.runs.runner import CaseRunner, tolerance_of
from harness.runs.score import Scorer
from harness.runs.store import RunFolder


class Progress(Protocol):
    """What a run tells about its progress."""

    def started(self, folder: Path, planned: list[Planned], done: int) -> None:
        """The run begins; ``done`` of the planned cases already have rows."""

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
) -> RunResult:
    """Re-render every case, score it against its preview and judge it; rows are stored as they finish.

    A folder that holds an unfinished run of the same cases and options is resumed.

    Args:
        out: the run folder.
        renderer: the system under test; the reference pipeline unless given.

    Raises:
        HarnessError: bad input; found before anything is rendered.
    """
    from harness.environment import environment
    from harness.reference.load import choose_device

    options = options or RunOptions()
    device = choose_device(options.device)
    planned = plan(cases, options, device)
    preflight(planned, options)
    scorer = Scorer(options.lpips_weights)
    identity = {**options.identity(), "cases": sorted(case.id for case in cases)}
    facts = environment(device)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with RunFolder(out, identity, {"created": created, "environment": facts}) as folder:
        todo = [item for item in planned if not _already(folder, item, options)]
        if progress is not None:
            progress.started(out, planned, len(planned) - len(todo))
        renderer = renderer or _reference(options, device)
        on_step = progress.step_done if progress is not None else None
        runner = CaseRunner(folder, renderer, scorer, options, facts, on_step)
        try:
            for item in todo:
                if progress is not None:
                    progress.case_started(item)
                row = runner.run(item)
                folder.append(row)
                if progress is not None:
                    progress.case_done(row)
        finally:
            renderer.close()
    return load_run(out)


def preflight(planned: list[Planned], options: RunOptions) -> None:
    """Check every file the run will need, before a model is loaded.

    Raises:
        HarnessError: the first file that is missing, changed, unsafe or unusable.
    """
    from harness.aitoolkit.lora import inspect_lora
    from harness.reference.checkpoint import find_checkpoint
    from harness.reference.load import check_trust
    from harness.reference.spec import FLEX2

    for item in planned:
        item.case.verify()
        _check_preview(item.case)
    requests = [item.request for item in planned if item.request is not None]
    for lora in {request.lora.file for request in requests if request.lora is not None}:
        inspect_lora(lora)
    for base, code in {
        (str(request.base), request.pipeline): (request.base, request.pipeline) for request in requests
    }.values():
        check_trust(find_checkpoint(base, FLEX2), code, options.trust_remote_code)


def _check_preview(case: Case) -> None:
    from harness.scoring.images import load_rgb

    height, width, _ = load_rgb(case.preview_path).shape
    recorded = case.preview
    if (recorded.width, recorded.height) != (width, height):
        raise CaseError(
            f"says {recorded.width}×{recorded.height}, the image is {width}×{height}",
            file=case.folder,
            field=f"{case.id}: preview.width",
            fix="import again",
        )


def _reference(options: RunOptions, device: str) -> Renderer:
    from harness.reference.render import ReferenceRenderer

    return ReferenceRenderer(
        device=device, offload=options.offload, trust_remote_code=options.trust_remote_code
    )


def _already(folder: RunFolder, item: Planned, options: RunOptions) -> bool:
    """Say whether ``item`` has a row that still holds; where only the tolerance changed, judge it again."""
    row = folder.done.get((item.case.id, item.variant))
    if row is None or row.key != item.key or row.verdict is Verdict.ERROR:
        return False
    tolerance = tolerance_of(item.case, options)
    if row.tolerance != tolerance:
        folder.append(judge_again(row, tolerance))
    return True

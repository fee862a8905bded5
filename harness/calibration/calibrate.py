"""Render the controls of every case and propose limits from how they score."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from harness.calibration.controls import CODEC, REPEAT, Control, controls
from harness.calibration.limits import propose
from harness.errors import CalibrationError
from harness.judging.baseline import environment_key
from harness.judging.tolerance_file import Environment, Measured, ToleranceFile
from harness.metrics.scores import Scores
from harness.runs.case_runner import CaseRunner
from harness.runs.folder import RunFolder
from harness.runs.plan import Planned, RunOptions, in_order, plan
from harness.runs.renderers import reference_renderer
from harness.runs.run import Progress
from harness.runs.scorer import Scorer
from harness.schema.case import Case
from harness.schema.render import Lora, Renderer


def calibrate(
    cases: list[Case],
    *,
    out: Path,
    run: Path,
    options: RunOptions | None = None,
    command: str = "harness.calibrate",
    progress: Progress | None = None,
    renderer: Renderer | None = None,
) -> ToleranceFile:
    """Measure noise and signal on this machine and write the limits between them, with the evidence.

    Limits of other environments that ``out`` holds already are kept.

    Args:
        out: the tolerance file.
        run: run folder for every control's images and rows; a killed calibration resumes there.
        command: what to print this calibration again with; kept in the file.

    Raises:
        HarnessError: bad input; found before anything is rendered.
        CalibrationError: no case gives both noise and signal.
    """
    from harness.pipeline.load import choose_device
    from harness.runs.environment import environment
    from harness.runs.preflight import preflight

    options = options or RunOptions()
    device = choose_device(options.device)
    kept = ToleranceFile.load(out).environments if out.exists() else {}
    planned = plan(cases, options, device)
    preflight(planned, options)
    facts = environment(device)
    plans = _controls(planned)
    if not plans:
        raise CalibrationError("none of these cases can be re-run", fix="see why in their case files")
    items = in_order([item for item, _ in plans])
    identity = {**options.identity(), "calibration": sorted(item.case.id for item in planned)}
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with RunFolder(run, identity, {"created": created, "environment": facts}) as folder:
        todo = [item for item in items if not _done(folder, item)]
        renderer = renderer or reference_renderer(options, device)
        on_step = progress.step_done if progress else None
        runner = CaseRunner(folder, renderer, Scorer(options.lpips_weights), options, facts, on_step)
        try:
            _render(todo, run, len(items), folder, runner, progress)
        finally:
            renderer.close()
        evidence = _evidence(plans, folder, runner.scorer)
    found = Environment(
        date=created[:10],
        command=command,
        fingerprint=facts,
        all_cases=propose([entry for measured in evidence.values() for entry in measured]),
        cases={name: propose(measured) for name, measured in evidence.items()},
        evidence=evidence,
    )
    made = ToleranceFile(environments={**kept, environment_key(facts): found})
    made.save(out)
    return made


def _controls(planned: Sequence[Planned]) -> list[tuple[Planned, Control]]:
    found = []
    for item in planned:
        if item.request is None:
            continue
        for control in controls(item.request, _other_lora(item, planned)):
            variant = control.name.replace(" ", "-")
            found.append((Planned(item.case, control.request, variant), control))
    return found


def _other_lora(item: Planned, planned: Sequence[Planned]) -> Lora | None:
    """Return another checkpoint from the same folder of cases."""
    if item.request is None or item.request.lora is None:
        return None
    job = item.case.id.rpartition("/")[0]
    for other in planned:
        lora = other.request.lora if other.request else None
        if lora and lora.sha256 != item.request.lora.sha256 and other.case.id.rpartition("/")[0] == job:
            return lora
    return None


def _done(folder: RunFolder, item: Planned) -> bool:
    row = folder.done.get((item.case.id, item.variant))
    return row is not None and row.key == item.key and row.scores is not None


def _render(
    todo: list[Planned],
    run: Path,
    total: int,
    folder: RunFolder,
    runner: CaseRunner,
    progress: Progress | None,
) -> None:
    if progress is not None:
        progress.started(run, todo, total - len(todo))
    for item in todo:
        if progress is not None:
            progress.case_started(item)
        row = runner.run(item)
        folder.append(row)
        if progress is not None:
            progress.case_done(row)


def _evidence(
    plans: list[tuple[Planned, Control]], folder: RunFolder, scorer: Scorer
) -> dict[str, list[Measured]]:
    """Return what was measured, by case; a control that failed to render is left out.

    The codec round trip is a copy of the plain re-run that was saved as the preview is, scored after that
    codec as every re-run is: a second generation, not the codec floor, which no verdict is made of.
    """
    evidence: dict[str, list[Measured]] = {}
    for item, control in plans:
        row = folder.done[item.case.id, item.variant]
        if row.scores is None:
            continue
        measured = evidence.setdefault(item.case.id, [])
        measured.append(_measured(control.name, control.kind, row.scores))
        if control.name == REPEAT:
            measured.append(_measured(CODEC, "noise", scorer.score_copy(folder.path, row.images)))
    return evidence


def _measured(name: str, kind: str, scores: Scores) -> Measured:
    return Measured(control=name, kind=kind, ssim=scores.ssim, lpips=scores.lpips, psnr=scores.psnr)

"""Render the controls of every case and propose limits from how they score."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from harness._util.atomic_files import disk_errors_as
from harness._util.output_paths import why_unwritable
from harness._util.words import size_text
from harness.calibration.controls import CODEC, Control, controls
from harness.calibration.limits import propose
from harness.errors import CalibrationError
from harness.judging.baseline import environment_key
from harness.judging.tolerance_file import Environment, Measured, ToleranceFile
from harness.metrics.scores import Scores
from harness.runs.folder import RunFolder
from harness.runs.machine import machine_of
from harness.runs.plan import RunOptions, in_order, plan
from harness.runs.planned import Planned
from harness.runs.preflight import Preflight
from harness.runs.progress import Progress
from harness.runs.scorer import Scorer
from harness.runs.session import open_run
from harness.runs.setup import Setup
from harness.runs.t5_kernel import REPEAT
from harness.schema.case import Case
from harness.schema.render import Lora, Renderer


def calibrate(
    cases: list[Case],
    *,
    out: str | os.PathLike[str],
    run: str | os.PathLike[str],
    options: RunOptions | None = None,
    command: str = "harness.calibrate",
    progress: Progress | None = None,
    renderer: Renderer | None = None,
) -> ToleranceFile:
    """Measure noise and signal on this machine and write the limits between them, with the evidence.

    Where a case does not say T5's kernel and a preview of its job proves it, all controls have that kernel,
    as the job's re-runs have.

    Limits of other environments that ``out`` holds already are kept.

    Args:
        out: the tolerance file.
        run: run folder for every control's images and rows; a killed calibration resumes there.
        command: what to print this calibration again with; kept in the file.

    Raises:
        HarnessError: bad input; found before anything is rendered.
        CalibrationError: no case gives both noise and signal.
    """
    out = Path(out)
    run = Path(run)
    if (why := why_unwritable(out)) is not None:
        raise CalibrationError(f"cannot be written ({why})", file=out, fix="name another file")
    options = options or RunOptions()
    others = ToleranceFile.load(out).environments if out.exists() else {}
    with machine_of(options) as machine:
        planned = plan(cases, options, machine.device)
        bases = Preflight().check(planned, options)
        plans = _controls(planned)
        if not plans:
            raise CalibrationError("none of these cases can be re-run", fix="see why in their case files")
        items = in_order([item for item, _ in plans])
        setup = Setup(items, machine, bases, options, subject="calibration")
        with open_run(setup, run, renderer=renderer, progress=progress) as session:
            session.run(items)
            evidence = _evidence(plans, session.folder, session.scorer)
    facts = machine.environment
    found = Environment(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        command=command,
        fingerprint=facts,
        sizes=sorted({size_text(item.case.preview.size) for item, _ in plans}),
        all_cases=propose([entry for measured in evidence.values() for entry in measured]),
        cases={name: propose(measured) for name, measured in evidence.items()},
        evidence=evidence,
    )
    made = ToleranceFile(environments={**others, environment_key(facts): found})
    fix = "mend that and repeat the command with this run: it holds every render"
    with disk_errors_as(CalibrationError, f"cannot be written; {run} is whole", file=out, fix=fix):
        made.save(out)
    return made


def _controls(planned: Sequence[Planned]) -> list[tuple[Planned, Control]]:
    found = []
    for item in planned:
        if item.request is None or item.case.preview.older_config is not None:
            continue
        for control in controls(item.request, _other_lora(item, planned)):
            variant = control.name.replace(" ", "-")
            found.append((Planned(item.case, control.request, variant, free_t5=item.free_t5), control))
    return found


def _other_lora(item: Planned, planned: Sequence[Planned]) -> Lora | None:
    """Return another checkpoint from the same folder of cases."""
    if item.request is None or item.request.lora is None:
        return None
    for other in planned:
        lora = other.request.lora if other.request else None
        if lora and lora.sha256 != item.request.lora.sha256 and other.case.job == item.case.job:
            return lora
    return None


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
    return Measured(control=name, kind=kind, **scores.model_dump(exclude={"pixels"}))

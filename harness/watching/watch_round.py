"""One look at a running training: import what is finished, and run what has no row yet."""

from __future__ import annotations

import os
from pathlib import Path

from harness.importers.aitoolkit import import_job
from harness.importers.aitoolkit.job_folder import samples_folder, strangers
from harness.runs.folder import refuse_for_import
from harness.runs.plan import RunOptions
from harness.runs.progress import Progress
from harness.runs.results import RunResult, load_run
from harness.runs.run import run_cases
from harness.runs.run_files import read_rows
from harness.schema.case import Case
from harness.schema.result import REFERENCE, Row, Verdict
from harness.watching.job_files import look


def watch_round(
    job_dir: str | os.PathLike[str],
    *,
    cases: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> RunResult | None:
    """Import the finished previews of a job, and run those that ``out`` holds no valid row of.

    Previews that are still being written, or whose checkpoint is, are left for the next round. LoRAs are
    copied with their cases, so that a checkpoint may be pruned after that.

    Args:
        cases: folder of the case files.
        out: the run folder; the cases come to those that are there.
        config: the job's config, where it is not in its folder.
        options: as for ``run_cases``; a base among them is the import's too.

    Returns:
        The whole run so far, or None where the job has no finished preview yet.

    Raises:
        HarnessError: as ``import_job`` and ``run_cases``.
    """
    job_dir = Path(job_dir)
    cases = Path(cases)
    out = Path(out)
    config = None if config is None else Path(config)
    options, progress = options or RunOptions(), progress or Progress()
    refuse_for_import(out, cases)
    files = look(job_dir)
    if (waiting := files.waiting()) is not None:
        progress.told(waiting)
    if not files.steps:
        progress.told(f"no preview is finished yet{_others(job_dir)}")
        return None
    imported = import_job(job_dir, out=cases, base=options.base, config=config, leave=files.later)
    for error in imported.refused:
        progress.told(f"not usable: {error}")
    found = imported.cases
    rows = {row.case: row for row in read_rows(out) if row.variant == REFERENCE}
    due = [case for case in found if not _is_done(case, rows.get(case.id))]
    if due:
        run_cases([*due, *_proving(found, due)], out=out, options=options, progress=progress, grows=True)
    return load_run(out)


def _others(job_dir: Path) -> str:
    """Say which images lie where previews are awaited."""
    folder = samples_folder(job_dir)
    others = strangers(folder) if folder.is_dir() else []
    return f"; {folder.name} holds {' and '.join(others)}" if others else ""


def _is_done(case: Case, row: Row | None) -> bool:
    """Whether a row is of the case as it is now."""
    if row is None or row.description is None or row.verdict is Verdict.ERROR:
        return False
    return row.description.model_dump() == case.model_dump()


def _proving(found: list[Case], due: list[Case]) -> list[Case]:
    """Return the job's first preview, which proves the kernel of T5 for the others, unless it is due."""
    first = min(found, key=lambda case: case.id)
    return [] if first in due or first.incomparable is not None else [first]

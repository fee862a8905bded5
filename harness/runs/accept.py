"""Accept rows of a saved run as baselines."""

from __future__ import annotations

import datetime
import getpass
import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from harness._util.words import id_hint
from harness.errors import BaselineError
from harness.judging.baseline import entry_of, environment_key
from harness.judging.baseline_store import BaselineStore
from harness.runs.folder import refuse_links
from harness.runs.run_files import read_manifest, read_rows
from harness.schema.result import REFERENCE, Row, Verdict


@dataclass(frozen=True)
class Accepted:
    """The files that were written, and the cases that were passed over with the reason."""

    written: list[Path]
    passed_over: dict[str, str]


def accept_run(
    run: str | os.PathLike[str],
    cases: list[str],
    *,
    root: str | os.PathLike[str],
    reason: str,
    accepted_by: str | None = None,
    new_only: bool = False,
    also: bool = False,
) -> Accepted:
    """Accept rows of a run as the baselines of their cases, in the environment they were rendered in.

    Args:
        run: a run folder.
        cases: ids or globs of ids; all of the run's where empty.
        root: the folder of baselines.
        reason: why this is as it should be; kept with each entry.
        accepted_by: who says so; the account's name unless given.
        new_only: leave entries that exist as they are.
        also: accept beside what was accepted before, for cases that have several valid results.

    Raises:
        BaselineError: no reason, no result or no such case in the run, or a baseline that cannot be read or
            written.
        RunError: not a run folder, or one that holds links.
    """
    run = Path(run)
    root = Path(root)
    if not reason.strip():
        raise BaselineError("needs a reason", field="--reason", fix="say why this result is as it should be")
    read_manifest(run)
    refuse_links(run)
    rows = sorted((row for row in read_rows(run) if row.variant == REFERENCE), key=lambda row: row.case)
    if not rows:
        fix = "repeat the harness run that was to fill it"
        raise BaselineError("holds no result of the reference to accept", file=run, fix=fix)
    chosen = [row for row in rows if not cases or any(fnmatch(row.case, case) for case in cases)]
    for case in cases:
        if not any(fnmatch(row.case, case) for row in rows):
            fix = id_hint(case, {row.case for row in rows})
            raise BaselineError(f"no case of this run matches {case!r}", file=run, fix=fix)
    store, written, passed_over = BaselineStore(root), [], {}
    for row in chosen:
        path = accept_row(
            row, store, reason=reason, accepted_by=accepted_by, new_only=new_only, also=also, run=run
        )
        if path is not None:
            written.append(path)
        else:
            passed_over[row.case] = row.reason if row.verdict is Verdict.ERROR else "has a baseline already"
    return Accepted(written, passed_over)


def accept_row(
    row: Row,
    store: BaselineStore,
    *,
    reason: str,
    accepted_by: str | None = None,
    new_only: bool = False,
    also: bool = False,
    run: Path | None = None,
) -> Path | None:
    """Accept one row as it was judged against its preview; None where it failed or has an entry already.

    Args:
        run: the row's run folder, whose latents are kept with the entry.
    """
    if row.verdict is Verdict.ERROR:
        return None
    with store.changing(row.case):
        key = environment_key(row.environment)
        if new_only and key in store.entries(row.case):
            return None
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        latents = run / row.images.latents if run and row.images.latents and row.latents_sha256 else None
        kept = None
        if latents is not None and latents.is_file():
            kept = store.keep_latents(row.case, key, latents, str(row.latents_sha256))
        by = accepted_by or account()
        entry = entry_of(_against_preview(row), accepted=now, accepted_by=by, reason=reason, latents=kept)
        return store.accept(row.case, key, entry, also=also)


def account() -> str:
    """Return the name of the account that runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _against_preview(row: Row) -> Row:
    """Return the row with the verdict that its scores alone give: a regression that is accepted is none."""
    from harness.judging.verdict import judge_variant

    if row.scores is None:
        return row.model_copy(update={"verdict": Verdict.INCOMPARABLE})
    verdict, reason = judge_variant(row.description, row.variant, row.scores, row.tolerance)
    return row.model_copy(update={"verdict": verdict, "reason": reason})

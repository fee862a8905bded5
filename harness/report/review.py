"""A review exported from a report, applied: what was accepted becomes the baseline of its case."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness._util.atomic_files import sha256_file
from harness._util.validation import read_model
from harness.errors import RunError
from harness.judging.baseline_store import BaselineStore
from harness.runs.accept import accept_row
from harness.runs.folder import refuse_links
from harness.runs.run_files import read_manifest, read_rows
from harness.schema.fields import Strict
from harness.schema.result import REFERENCE, Row, Verdict


class Decision(Strict):
    """What a reviewer said about one row, with the hashes of what they looked at."""

    case: str
    variant: str
    decision: Literal["accept", "reject"] | None
    note: str = Field(max_length=10_000)
    key: str
    rerun_sha256: str | None


class Review(Strict):
    """The file that a report exports."""

    format: Literal["harness-review/1"]
    run: str
    created: str = Field(description="When the run was made.")
    reviewer: str
    exported: str
    decisions: list[Decision]


@dataclass(frozen=True)
class Applied:
    """What came of a review: baseline files written, and the names of rejected and merely noted rows."""

    written: list[Path]
    rejected: list[str]
    noted: list[str]


def load_review(path: Path) -> Review:
    """Read a review file.

    Raises:
        RunError: not readable, too large, or not a review.
    """
    return read_model(path, Review, RunError, fix="export it from the report")


def apply_review(
    file: str | os.PathLike[str],
    *,
    run: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] = "baselines",
    reviewer: str | None = None,
) -> Applied:
    """Write the baselines that a review accepts: all of them, or none where anything moved since.

    Args:
        run: the run folder that was reviewed; None: ``reports/<name in the file>``.
        root: the folder of baselines.
        reviewer: who reviewed; None: as the file says.

    Raises:
        RunError: not a review, not its run, a run that holds links, or a row or an image that is not the one
            that was reviewed.
        BaselineError: a baseline cannot be read or written.
    """
    file = Path(file)
    run = None if run is None else Path(run)
    root = Path(root)
    review = load_review(file)
    folder = run or Path("reports") / Path(review.run).name
    created = str(read_manifest(folder).get("created", ""))
    refuse_links(folder)
    if created != review.created:
        raise RunError(
            f"was made at {created}, and the review is of a run made at {review.created}",
            file=folder,
            fix="give the run that was reviewed with --run",
        )
    rows = {(row.case, row.variant): row for row in read_rows(folder)}
    accepted = [
        (each, _reviewed(folder, rows, each)) for each in review.decisions if each.decision == "accept"
    ]
    store, written = BaselineStore(root), []
    for decision, row in accepted:
        reason = decision.note or f"accepted in the review of {review.run}"
        path = accept_row(
            row, store, reason=reason, accepted_by=reviewer or review.reviewer or None, run=folder
        )
        if path is not None:
            written.append(path)
    names = {
        choice: [each.case for each in review.decisions if each.decision == choice]
        for choice in ("reject", None)
    }
    return Applied(written, names["reject"], names[None])


def refusal(row: Row) -> tuple[str, str] | None:
    """Say why a row can never become a baseline, and what to do instead; None where it can."""
    if row.variant != REFERENCE:
        why = f"variant {row.variant!r} was accepted, and only the reference has a baseline"
        return why, "accept the row of the reference"
    if row.verdict is Verdict.ERROR:
        return "its render failed, which cannot be accepted", "reject it"
    return None


def _reviewed(folder: Path, rows: dict[tuple[str, str], Row], decision: Decision) -> Row:
    """Return the row that was decided on, after making sure that it is still what the reviewer saw."""
    row = rows.get((decision.case, decision.variant))
    name, fix = decision.case, "build the report again and review it again"
    if row is None:
        raise RunError(f"no row of variant {decision.variant!r}", file=folder, field=name, fix=fix)
    if refused := refusal(row):
        why, instead = refused
        raise RunError(why, file=folder, field=name, fix=instead)
    if row.key != decision.key:
        raise RunError("was rendered with other settings since the review", file=folder, field=name, fix=fix)
    image = folder / row.images.rerun if row.images.rerun else None
    found = sha256_file(image) if image is not None and image.is_file() else None
    if found != decision.rerun_sha256:
        raise RunError("its image is not the one that was reviewed", file=folder, field=name, fix=fix)
    return row

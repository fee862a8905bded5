"""A row as its own page shows it; the page's template asks the filters of ``page.py`` for its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from harness.comparison.exports.export import request_body
from harness.report.comparisons import StoredComparison
from harness.report.diagnoses import SavedDiagnosis
from harness.report.formatting import slug
from harness.report.pictures import Picture
from harness.report.settings_table import Setting
from harness.schema.result import Finding, Row


@dataclass(frozen=True)
class CaseView:
    """One row, and what its page shows beyond it.

    Attributes:
        environment: where the row's is not the run's.
        rerun_sha256: hash of the re-run's file, which a review records.
        diagnosis: what a diagnosis of the case found.
        sweep: name of the page of all the case's variants, if it has several.
        comparisons: those of inference images that lie in the run folder.
    """

    row: Row
    pictures: tuple[Picture, ...]
    environment: tuple[Setting, ...]
    rerun_sha256: str | None
    diagnosis: SavedDiagnosis | None = None
    sweep: str | None = None
    comparisons: Sequence[StoredComparison] = ()

    @property
    def slug(self) -> str:
        """Name of the page."""
        return slug(self.row.case, self.row.variant)

    @property
    def comparable(self) -> bool:
        """Whether preview and re-run are there, and all pictures have one size."""
        there = {each.name: each.size for each in self.pictures if each.href}
        return {"preview", "rerun"} <= there.keys() and len(set(there.values())) == 1

    @property
    def findings(self) -> Sequence[Finding]:
        """The row's; a run from before they were stored has those of a diagnosis at most."""
        return self.row.findings or (self.diagnosis.findings if self.diagnosis else ())


def recipe(row: Row) -> str:
    """Return a request of the reference server (``POST /v1/inference``) with a row's settings, as JSON."""
    return json.dumps(request_body(row.description), indent=2, ensure_ascii=False)

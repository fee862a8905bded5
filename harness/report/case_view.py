"""A row as its own page shows it: typed and finished, so that templates only lay out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.report.diagnoses import SavedDiagnosis
from harness.report.formatting import seconds, slug
from harness.report.measures import Measure, codec_sentence, measures
from harness.report.overview import shown_variant
from harness.report.pictures import Link, Picture, pictures
from harness.report.replay import recipe
from harness.report.review import refusal
from harness.report.settings_table import (
    Fact,
    Setting,
    assumptions,
    baseline_environment,
    baseline_facts,
    environment_changes,
    provenance,
    settings,
)
from harness.report.sigma_chart import SigmaChart, curve
from harness.schema.result import Finding, Row

MAX_PROMPT = 600
"""Characters from which a prompt gets a scrolling box of its own."""


@dataclass(frozen=True)
class CaseView:
    """One row, and what its page shows beyond it.

    Attributes:
        variant: its name; None for the reference itself.
        rerun_sha256: hash of the re-run's file, which a review records.
        comparable: preview and re-run are there, and all pictures have one size.
        accepted: the baseline's environment and rendering beside this row's.
        sweep: name of the page of all the case's variants, if it has several.
    """

    slug: str
    row: Row
    variant: str | None
    rerun_sha256: str | None
    acceptable: bool
    prompt: str
    pictures: tuple[Picture, ...]
    comparable: bool
    measures: tuple[Measure, ...]
    codec: str | None
    settings: tuple[Setting, ...]
    findings: tuple[Finding, ...]
    assumptions: tuple[str, ...]
    provenance: tuple[Fact, ...]
    environment: tuple[Setting, ...]
    baseline: tuple[Fact, ...]
    accepted: tuple[Setting, ...]
    curve: SigmaChart | None
    seconds: tuple[Fact, ...]
    diagnosis: SavedDiagnosis | None
    recipe: str
    sweep: str | None
    max_prompt: int = MAX_PROMPT


def case_view(
    folder: Path,
    row: Row,
    environment: dict[str, str],
    link: Link,
    rerun_sha256: str | None,
    diagnosis: SavedDiagnosis | None = None,
    sweep: str | None = None,
) -> CaseView:
    """Return everything that a row's page shows.

    Args:
        folder: the run folder.
        environment: the run's, flat; the page repeats only where the row's own differs.
        link: turns the path of an image in the run folder into an address.
        rerun_sha256: hash of the re-run's file.
        diagnosis: what a diagnosis of the case found.
        sweep: name of the page of all the case's variants, if it has several.
    """
    shown = pictures(folder, row, link)
    there = [each for each in shown if each.href]
    return CaseView(
        slug=slug(row.case, row.variant),
        row=row,
        variant=shown_variant(row),
        rerun_sha256=rerun_sha256,
        acceptable=refusal(row) is None,
        prompt=str(row.settings.get("prompt", "")),
        pictures=shown,
        comparable={"preview", "rerun"} <= {each.name for each in there}
        and len({each.size for each in there}) == 1,
        measures=measures(row),
        codec=codec_sentence(row),
        settings=settings(row),
        # a run from before findings were stored has those of a diagnosis at most
        findings=tuple(row.findings or (diagnosis.findings if diagnosis else ())),
        assumptions=assumptions(row),
        provenance=provenance(row),
        environment=environment_changes(row, environment),
        baseline=baseline_facts(row),
        accepted=baseline_environment(row),
        curve=curve(row.rendered.sigmas, row.rendered.steps) if row.rendered else None,
        seconds=tuple(Fact(part, seconds(spent)) for part, spent in row.seconds.items()),
        diagnosis=diagnosis,
        recipe=recipe(row),
        sweep=sweep,
    )

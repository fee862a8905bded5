"""A row as its own page shows it: typed and finished, so that templates only lay out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.report.diagnosis_view import DiagnosisView
from harness.report.formatting import seconds, slug
from harness.report.measures import Measure, codec_sentence, measures
from harness.report.overview import headline, shown_variant
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
from harness.report.sigma_chart import Curve, curve
from harness.schema.result import Finding, Row, Verdict

LONG_PROMPT = 600
"""Characters from which a prompt gets a scrolling box of its own."""


@dataclass(frozen=True)
class CaseView:
    """One row."""

    slug: str
    case: str
    variant: str | None
    variant_name: str
    verdict: Verdict
    reason: str
    key: str
    rerun_sha256: str | None
    is_rendered: bool
    acceptable: bool
    prompt: str
    prompt_is_long: bool
    headline: tuple[Fact, ...]
    width: int
    height: int
    pictures: tuple[Picture, ...]
    comparable: bool
    measures: tuple[Measure, ...]
    limits_source: str
    codec: str | None
    settings: tuple[Setting, ...]
    differing: int
    findings: tuple[Finding, ...]
    assumptions: tuple[str, ...]
    provenance: tuple[Fact, ...]
    environment: tuple[Setting, ...]
    baseline: tuple[Fact, ...]
    accepted: tuple[Setting, ...]
    changes: tuple[str, ...]
    curve: Curve | None
    seconds: tuple[Fact, ...]
    diagnosis: DiagnosisView | None
    recipe: str
    sweep: str | None


def case_view(
    folder: Path,
    row: Row,
    environment: dict[str, str],
    link: Link,
    rerun_sha256: str | None,
    diagnosis: DiagnosisView | None = None,
    sweep: str | None = None,
) -> CaseView:
    """Return everything that a row's page shows.

    Args:
        folder: the run folder.
        environment: the run's, flat; the page repeats only where the row's own differs.
        link: turns the path of an image in the run folder into an address.
        rerun_sha256: hash of the re-run's file, which a review records.
        diagnosis: what a diagnosis of the case found.
        sweep: name of the page of all the case's variants, if it has several.
    """
    compared = settings(row)
    prompt = str(row.settings.get("prompt", ""))
    shown = pictures(folder, row, link)
    sizes = {(each.pixels.width, each.pixels.height) for each in shown if each.href}
    names = {each.name for each in shown if each.href}
    return CaseView(
        slug=slug(row.case, row.variant),
        case=row.case,
        variant=shown_variant(row),
        variant_name=row.variant,
        verdict=row.verdict,
        reason=row.reason,
        key=row.key,
        rerun_sha256=rerun_sha256,
        is_rendered=row.rendered is not None,
        acceptable=refusal(row) is None,
        prompt=prompt,
        prompt_is_long=len(prompt) > LONG_PROMPT,
        headline=headline(row),
        width=row.description.preview.width,
        height=row.description.preview.height,
        pictures=shown,
        comparable={"preview", "rerun"} <= names and len(sizes) == 1,
        measures=measures(row),
        limits_source=row.tolerance.source,
        codec=codec_sentence(row),
        settings=compared,
        differing=sum(line.state == "differs" for line in compared),
        findings=_findings(row, diagnosis),
        assumptions=assumptions(row),
        provenance=provenance(row),
        environment=environment_changes(row, environment),
        baseline=baseline_facts(row),
        accepted=baseline_environment(row),
        changes=tuple(row.baseline.changes) if row.baseline else (),
        curve=curve(row.rendered.sigmas, row.rendered.steps) if row.rendered else None,
        seconds=tuple(Fact(part, seconds(spent)) for part, spent in row.seconds.items()),
        diagnosis=diagnosis,
        recipe=recipe(row),
        sweep=sweep,
    )


def _findings(row: Row, diagnosis: DiagnosisView | None) -> tuple[Finding, ...]:
    """Return what the run found beforehand; a run from before that was kept has a diagnosis at most."""
    return tuple(row.findings) or (diagnosis.findings if diagnosis else ())

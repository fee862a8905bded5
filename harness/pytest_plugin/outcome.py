"""From a judged row to what pytest says: passed, expected failure, failed; with the evidence as text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from harness._util.redaction import visible
from harness.schema.metric_limits import METRIC_LIMITS, limits_in_words
from harness.schema.result import Baseline, Row, Verdict


@dataclass(frozen=True)
class Checked:
    """A judged row, the file of its baseline, and where its page in the report is, or why there is none."""

    row: Row
    baseline_file: Path
    page: str


def settle(checked: Checked, item: pytest.Item) -> Row:
    """Give the item the row's scores as properties and end it as the row's verdict demands.

    A match passes. A drift that somebody accepted, and what cannot be compared although it has a baseline,
    are expected failures: never green, and no reason to wake anybody. So is a preview without its checkpoint
    that lies between its neighbours, where they were rendered. Everything else fails.
    """
    row = checked.row
    item.user_properties.extend(properties(row))
    if row.verdict is Verdict.MATCH:
        return row
    if row.known and row.baseline is not None:
        pytest.xfail(visible(f"{row.verdict}, {_known(row.baseline)}; {row.reason}"))
    if row.nearest is not None and row.nearest.place == "bracketed":
        pytest.xfail(visible(f"{row.verdict}: {row.reason}"))
    _fail(checked)


def properties(row: Row) -> list[tuple[str, object]]:
    """Return what JUnit XML keeps of a row: verdict, scores, threshold and its source."""
    pairs: list[tuple[str, object]] = [("verdict", row.verdict.value), ("reason", row.reason)]
    pairs += [
        (limit.metric, getattr(row, limit.metric))
        for limit in METRIC_LIMITS
        if getattr(row, limit.metric) is not None
    ]
    pairs += [
        ("tolerance", limits_in_words(row.tolerance)),
        ("tolerance_source", row.tolerance.source),
        ("image_sha256", row.image_sha256 or "none"),
        ("latents_sha256", row.latents_sha256 or "none"),
        ("baseline", row.baseline.environment if row.baseline else "none"),
    ]
    if row.nearest is not None:
        pairs.append(("nearest_checkpoints", row.nearest.place or "one alone"))
    return pairs


def explain(checked: Checked) -> str:
    """Return a failing row as lines: verdict and reason, then scores, limits, baseline, causes, report.

    The first line is what pytest's short summary shows.
    """
    row = checked.row
    lines = [f"{row.verdict}: {row.reason}", f"  case      {row.case}"]
    if row.verdict is not Verdict.ERROR:
        lines.append(f"  scores    {_scores(row)}")
        lines.append(f"  limits    {limits_in_words(row.tolerance)} ({row.tolerance.source})")
        lines.append(f"  baseline  {_baseline(checked)}")
        lines += [f"  cause?    {fact}" for fact in _likely_causes(row)]
    lines.append(f"  report    {checked.page}")
    return "\n".join(map(visible, lines))


def _fail(checked: Checked) -> NoReturn:
    pytest.fail(explain(checked), pytrace=False)


def _scores(row: Row) -> str:
    scores = row.scores
    if scores is None:
        return "none: the images were not compared"
    found = [
        f"{limit.label} {'∞ dB' if value is None else limit.shown(value)}"
        for limit in METRIC_LIMITS
        if (value := limit.value(scores)) is not None or limit.metric == "psnr"
    ]
    return ", ".join(found)


def _baseline(checked: Checked) -> str:
    accepted = checked.row.baseline
    if accepted is None:
        return (
            f"none that applies in {checked.baseline_file}: look at the report, "
            "then harness accept or --harness-update-baselines"
        )
    return f"{checked.baseline_file}: {accepted.verdict}, {_known(accepted)}"


def _known(baseline: Baseline) -> str:
    return f"accepted by {baseline.accepted_by} on {baseline.accepted[:10]}: {baseline.reason}"


def _likely_causes(row: Row) -> list[str]:
    """Return what the case showed by itself and what its import had to assume."""
    if row.verdict not in {Verdict.DRIFT, Verdict.REGRESSION}:
        return []
    found = [f.message for f in row.findings if f.severity != "info" or f.id == "noise-era"]
    return [*found, *row.description.assumptions]

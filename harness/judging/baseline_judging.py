"""Hold a row against what was accepted for its case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.judging.baseline import Entry, environment_key, flat, rendered_facts
from harness.judging.verdict import judge_baseline
from harness.metrics.scores import LatentDistance
from harness.schema.result import Baseline, Row, Verdict

COMPARABLE = ("dtype", "noise")
"""Renders that differ in one of these are not the same computation: scores across them say nothing."""

IGNORED = (
    "width",
    "height",
    "steps",
    "seed",
    "guidance_scale",
    "lora_sha256",
    "network_multiplier",
    "device",
)
"""Rendered settings that follow from the case or name the hardware; they are not reported as changes."""

MAX_CHANGES = 6


Distance = Callable[[Entry], LatentDistance | str | None]


def _unknown(_entry: Entry) -> None:
    return None


def against_baseline(row: Row, entries: Mapping[str, Sequence[Entry]], distance: Distance = _unknown) -> Row:
    """Return ``row`` judged against its baseline as well as against its preview.

    Of several results accepted on one kind of machine, the row passes if it is within the margin of any.
    A match without any baseline becomes ``incomparable``: nobody has said yet that it is as it should be.
    So does a row whose case was changed after it was accepted, and one that was accepted only where another
    dtype or another noise era was rendered. Without a baseline of its own kind of machine a row is held
    against those of all other kinds, and the strictest answer counts.

    Args:
        distance: how far the row's latents are from those of an entry, or why a file does not tell.
    """
    if row.verdict is Verdict.ERROR:
        return row
    key = environment_key(row.environment)
    if own := entries.get(key):
        return _against_any(row, key, own, distance, same_environment=True)
    sound = {other: [entry for entry in entries[other] if not _unsound(row, entry)] for other in entries}
    judged = [
        _against_any(row, other, found, distance, same_environment=False)
        for other, found in sound.items()
        if found
    ]
    if judged:
        return max(judged, key=_precedence)
    if entries:
        unsound = {other: ", ".join(_unsound(row, entries[other][0])) for other in sorted(entries)}
        others = "; ".join(f"{other}: {why}" for other, why in unsound.items())
        return _without(row, f"no baseline for {key}, and none that can be compared ({others})")
    return _without(row, "no baseline was accepted for this case")


def _against_any(
    row: Row, key: str, accepted: Sequence[Entry], distance: Distance, *, same_environment: bool
) -> Row:
    """Judge against every result accepted on one kind of machine; the most favourable counts."""
    judged = []
    for number, entry in enumerate(accepted, 1):
        far = distance(entry) if entry.latents_sha256 != row.latents_sha256 else None
        baseline = Baseline(
            environment=key,
            same_environment=same_environment,
            number=number,
            of=len(accepted),
            identical=_equal(entry.image_sha256, row.image_sha256) or False,
            latents_identical=_equal(entry.latents_sha256, row.latents_sha256),
            latent_distance=None if isinstance(far, str) else far,
            latents_unread=far if isinstance(far, str) else None,
            verdict=entry.verdict,
            scores=entry.scores,
            changes=_changes(row, entry),
            facts={**entry.environment, "rendered": entry.rendered},
            accepted=entry.accepted,
            accepted_by=entry.accepted_by,
            reason=entry.reason,
        )
        judged.append(_judged(row, entry, baseline))
    return max(judged, key=_nearness)


def _judged(row: Row, entry: Entry, baseline: Baseline) -> Row:
    if edited := _edited(row, entry):
        reason = f"the case is not the accepted one: {', '.join(edited)}; against its preview: {row.reason}"
        return row.model_copy(update={"verdict": _at_least(row.verdict), "reason": reason, "baseline": None})
    verdict, reason = judge_baseline(row.verdict, row.reason, row.scores, baseline)
    return row.model_copy(update={"verdict": verdict, "reason": reason, "baseline": baseline})


def _nearness(judged: Row) -> tuple[bool, bool, bool, float]:
    """Rank a row judged against one of several accepted results: the highest is the nearest."""
    baseline = judged.baseline
    if baseline is None:
        return False, False, False, 0.0
    distance = 0.0
    if baseline.scores is not None and judged.ssim is not None:
        distance = abs(judged.ssim - baseline.scores.ssim)
    return baseline.identical, judged.verdict is not Verdict.REGRESSION, True, -distance


def _equal(accepted: str | None, now: str | None) -> bool | None:
    """Compare two hashes; None where one is missing."""
    return None if accepted is None or now is None else accepted == now


def _without(row: Row, why: str) -> Row:
    reason = f"{why}; against its preview: {row.verdict}, {row.reason}"
    return row.model_copy(update={"verdict": _at_least(row.verdict), "reason": reason})


def _at_least(verdict: Verdict) -> Verdict:
    """Keep a drift; a match that nobody accepted is not one."""
    return Verdict.INCOMPARABLE if verdict is Verdict.MATCH else verdict


def _edited(row: Row, entry: Entry) -> list[str]:
    """Return what differs in the case itself; that is not a change of the system under test."""
    before = {**flat(entry.settings), "preview": entry.preview_sha256, "lora": entry.lora_sha256}
    case = row.description
    now = {
        **flat(row.settings),
        "preview": case.preview.sha256,
        "lora": case.lora.sha256 if case.lora else None,
    }
    return _differences(before, now)


def _changes(row: Row, entry: Entry) -> list[str]:
    """Return what differs in the rendering and its environment, at most ``MAX_CHANGES`` of them."""
    before = {name: value for name, value in entry.rendered.items() if name not in IGNORED}
    now = {name: value for name, value in rendered_facts(row).items() if name not in IGNORED}
    found = _differences(before, {name: now.get(name) for name in before})
    found += _differences(flat(entry.environment), flat(row.environment))
    more = len(found) - MAX_CHANGES
    return [*found[:MAX_CHANGES], f"{more} more"] if more > 0 else found


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return [f"{name} {_short(before.get(name))} → {_short(now.get(name))}" for name in names]


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"


def _unsound(row: Row, entry: Entry) -> list[str]:
    """Return what makes scores of the row and of an entry two different computations."""
    before, now = entry.rendered, rendered_facts(row)
    return _differences(*({name: facts.get(name) for name in COMPARABLE} for facts in (before, now)))


def _precedence(judged: Row) -> tuple[bool, bool, bool, float]:
    """Rank a row judged against one of several other machines' baselines: the highest counts.

    The very image that somebody accepted, then a regression against any, so that none hides behind the most
    lenient; then a baseline of the case as it is now, and of those the one that scored best.
    """
    baseline = judged.baseline
    best = baseline.scores.ssim if baseline and baseline.scores else -2.0
    identical = baseline is not None and baseline.identical
    return identical, judged.verdict is Verdict.REGRESSION, baseline is not None, best

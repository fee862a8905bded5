"""The LoRA of the case beside those that a tool applied."""

from __future__ import annotations

from collections.abc import Iterator

from harness.comparison.lora_match import Checkpoint, LoraMatch, checkpoints_of, match_lora
from harness.comparison.setting_row import EXTRA_LORA, SettingRow, State
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, shown
from harness.schema.case import Case

NONE = "none"


def lora_rows(case: Case, stated: InferenceSettings) -> Iterator[SettingRow]:
    """Yield the rows ``lora`` and, where both sides have one, ``network_multiplier``."""
    known = checkpoints_of(case)
    own = _own_label(case, known)
    if stated.loras is None:
        yield SettingRow("lora", own, None, State.UNKNOWN)
        if case.lora is not None:
            yield SettingRow("network_multiplier", case.lora.network_multiplier, None, State.UNKNOWN)
        return
    matched = [(use, match_lora(use, case, known)) for use in stated.loras]
    if case.lora is None or not matched:
        yield _without(own, stated, matched)
        return
    use, match = min(matched, key=lambda pair: not _is_own(case, pair[1]))
    yield _lora(case, own, use, match, others=len(matched) - 1)
    for extra, _ in (pair for pair in matched if pair[0] is not use):
        yield SettingRow("lora", own, shown(extra.name), State.DIFFERS, shown(extra.place), EXTRA_LORA)
    multiplier = case.lora.network_multiplier
    same = State.SAME if use.strength == multiplier else State.DIFFERS
    state = State.UNKNOWN if use.strength is None else same
    yield SettingRow(
        "network_multiplier", multiplier, use.strength, state, shown(use.strength_place or use.place)
    )


def _without(own: str, stated: InferenceSettings, matched: list[tuple[LoraUse, LoraMatch]]) -> SettingRow:
    """Return the row where one side has no LoRA."""
    if not matched:
        state = State.SAME if own == NONE else State.DIFFERS
        return SettingRow("lora", own, NONE, state, stated.source, "; ".join(stated.loras_off))
    names = ", ".join(shown(use.name) for use, _ in matched)
    return SettingRow("lora", own, names, State.DIFFERS, shown(matched[0][0].place))


def _lora(case: Case, own: str, use: LoraUse, match: LoraMatch, *, others: int) -> SettingRow:
    place = shown(use.place)
    if _is_own(case, match):
        return SettingRow("lora", own, own, State.SAME, place, match.note)
    if match.checkpoint is not None:
        return SettingRow("lora", own, match.checkpoint.label, State.DIFFERS, place, match.note)
    if match.sure:
        said = f" (step {match.step})" if match.step is not None else ""
        return SettingRow("lora", own, f"{shown(use.name)}{said}", State.DIFFERS, place, match.note)
    return SettingRow("lora", own, shown(use.name), State.UNKNOWN, place, match.note)


def _is_own(case: Case, match: LoraMatch) -> bool:
    return match.checkpoint is not None and match.checkpoint.path == case.lora_path


def _own_label(case: Case, known: list[Checkpoint]) -> str:
    if case.lora_path is None:
        return NONE
    mine = next((each for each in known if each.path == case.lora_path), None)
    return mine.label if mine else case.lora_path.name

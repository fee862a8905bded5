"""The table of library versions."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.schema.versions import CHANGES, PINS, behaviour, numbers, pins_of_software
from harness.sweeps.axes import AXES


@pytest.mark.parametrize(
    ("subject", "version", "found"),
    [
        ("noise", "2.11.0+cu130", "legacy"),
        ("noise", "2.12.0", "current"),
        ("t5_attention", "4.57.3", "eager"),
        ("t5_attention", "5.14.1", "eager"),
        ("t5_attention", "5.15.0", "sdpa"),
        ("T5 tokens", "4.57.3", "NFKC"),
        ("T5 tokens", "5.2.0", "no NFKC"),
        ("T5 tokens", "5.24.0", "NFKC"),
    ],
)
def test_a_version_does_what_the_last_change_before_it_says(subject: str, version: str, found: str) -> None:
    assert behaviour(subject, version) == found


def test_changes_of_one_subject_follow_each_other() -> None:
    for subject in {change.subject for change in CHANGES}:
        changes = [change for change in CHANGES if change.subject == subject]
        for earlier, later in pairwise(changes):
            assert numbers(earlier.since) < numbers(later.since)
            assert earlier.after == later.before


def test_what_a_request_can_choose_is_an_axis_with_these_values() -> None:
    for change in CHANGES:
        if change.subject in AXES:
            assert AXES[change.subject].parse(change.before) == change.before
            assert AXES[change.subject].parse(change.after) == change.after


@pytest.mark.parametrize(
    ("software", "transformers", "torch"),
    [
        ("ai-toolkit 0.2.0", "4.49.0", "2.6.0"),
        ("ai-toolkit 0.7.21", "4.57.3", "2.9.1"),
        ("ai-toolkit 0.11.2", "5.5.3", None),
        ("ai-toolkit 0.12.26", "5.5.3", "2.13.0"),
    ],
)
def test_the_trainers_pins(software: str, transformers: str, torch: str | None) -> None:
    pins = pins_of_software(software)
    assert pins is not None
    assert (pins.transformers, pins.torch) == (transformers, torch)


@pytest.mark.parametrize("software", [None, "", "ai-toolkit 0.1.0", "kohya 0.7.21", "ai-toolkit"])
def test_other_software_pins_nothing_that_is_known(software: str | None) -> None:
    assert pins_of_software(software) is None


def test_the_table_of_pins_is_in_order() -> None:
    assert sorted(PINS, key=lambda pins: numbers(pins.since)) == list(PINS)

"""Rules of the trainer's versions at their borders."""

from __future__ import annotations

import pytest

from harness.schema.trainer_versions import CACHED_PROMPTS, EMA, LITERAL_TRIGGER, Rule


@pytest.mark.parametrize(
    ("rule", "version", "holds"),
    [
        (CACHED_PROMPTS, "0.3.9", False),
        (CACHED_PROMPTS, "0.4.0", True),
        (CACHED_PROMPTS, "0.4.0rc1", None),
        (CACHED_PROMPTS, "0.4.0.post1", True),
        (LITERAL_TRIGGER, "0.10.27", True),
        (LITERAL_TRIGGER, "0.10.27+cu128", True),
        (LITERAL_TRIGGER, "0.10.27-dirty", True),
        (LITERAL_TRIGGER, "v0.10.27", True),
        (LITERAL_TRIGGER, "0.10.27-beta.2", True),
        (LITERAL_TRIGGER, "0.10.28", None),
        (LITERAL_TRIGGER, "0.10.28.dev3", None),
        (LITERAL_TRIGGER, "0.10.29", False),
        (EMA, "0.10.4", False),
        (EMA, "0.10.5a1", None),
        (EMA, "0.10.6", True),
        (EMA, "0.10", None),
        (EMA, "0.10.6.1", None),
        (EMA, "", None),
    ],
)
def test_borders_and_forms_of_versions(rule: Rule, version: str, holds: bool | None) -> None:
    assert rule.holds(f"ai-toolkit {version}") is holds


def test_why_a_rule_cannot_be_told() -> None:
    said = [LITERAL_TRIGGER.unknown(software) for software in (None, "ai-toolkit 0.10.28", "kohya 0.9.3")]
    whys = ["no trainer version is recorded", "ai-toolkit 0.10.28 was released both ways"]
    whys.append("'kohya 0.9.3' is no release of AI Toolkit")
    assert said == [f"{LITERAL_TRIGGER.what}: {why}" for why in whys]

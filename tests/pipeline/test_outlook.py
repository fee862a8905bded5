"""When the exact engine pays: by the calls that are planned, else by those that came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.pipeline.engine.outlook import COLD_SECONDS, SAVED_SECONDS, WARM_SECONDS, Outlook
from harness.schema.render import RenderRequest

Make = Callable[..., RenderRequest]
ENOUGH = int(COLD_SECONDS / SAVED_SECONDS) + 1


def test_one_render_does_not_pay_and_says_why(request_for: Make) -> None:
    request = request_for(sample_steps=25)
    outlook = Outlook()
    outlook.expect([request])
    expected = "the exact engine would take about 17 s to begin, and save 1 s in 25 calls"
    assert outlook.why_not(request) == expected


def test_many_planned_renders_pay_from_the_first_one_and_stay(request_for: Make) -> None:
    request, other = request_for(sample_steps=ENOUGH), request_for(sample_steps=2, width=96)
    outlook = Outlook()
    outlook.expect([request])
    assert outlook.why_not(request) is None
    outlook.took(request, 16.0)
    assert outlook.why_not(request_for(sample_steps=1)) is None
    assert outlook.why_not(other) is not None
    outlook.begin()
    assert outlook.why_not(request_for(sample_steps=1)) is not None


def test_as_many_are_taken_to_follow_as_came_before(request_for: Make, tmp_path: Path) -> None:
    for calls in (ENOUGH - 2, 2):
        assert Outlook(tmp_path).why_not(request_for(sample_steps=calls)) is not None
    assert Outlook(tmp_path).why_not(request_for(sample_steps=1)) is None
    assert Outlook().why_not(request_for(sample_steps=1)) is not None


def test_calls_of_before_count_where_a_plan_begins_and_not_in_its_middle(
    request_for: Make, tmp_path: Path
) -> None:
    half = request_for(sample_steps=ENOUGH // 2)
    outlook = Outlook(tmp_path)
    outlook.expect([half])
    assert outlook.why_not(half) is not None
    outlook.expect([half, request_for(sample_steps=1)])
    assert outlook.why_not(half) is not None
    assert outlook.why_not(request_for(sample_steps=1)) is not None
    assert Outlook(tmp_path).why_not(half) is None


def test_what_is_compiled_already_pays_sooner_and_by_its_own_time(request_for: Make, tmp_path: Path) -> None:
    request = request_for(sample_steps=int(WARM_SECONDS / SAVED_SECONDS) + 1)
    Outlook(tmp_path).took(request, 20.0)
    assert Outlook(tmp_path).why_not(request) is None
    Outlook(tmp_path).took(request, 9.0)
    assert "about 9 s" in str(Outlook(tmp_path).why_not(request))

"""Cases rendered before their turn: which, how many, and what happens where a turn fails or never comes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.pytest_plugin.items import CaseItem
from harness.pytest_plugin.ordering import following
from harness.pytest_plugin.xdist import name_groups, score_workers
from harness.runs.case_runner import CaseRunner
from harness.runs.dispatch import Outcome
from harness.runs.planned import Planned
from harness.runs.scoring_pool import ScoringPool
from harness.schema.base import Base
from harness.schema.render import Renderer
from tests.pytest_plugin.tiny_project import CASES, rows

ORDER = ["tiny/drifted", "tiny/plain", "tiny/lora_0", "tiny/lora_1"]
"""As pytest runs the cases: those without a LoRA first."""

COMMAND = (CASES, "--harness-score-workers=2", "--no-harness-report", "--harness-results=run")


@pytest.fixture
def said(slow: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a session did, in order: ``render CASE`` and ``row CASE``; it scores slowly."""
    found: list[str] = []
    real_render, real_row = CaseRunner.render, CaseRunner.row

    def render(runner: CaseRunner, item: Planned, renderer: Renderer) -> Outcome:
        found.append(f"render {item.case.id}")
        return real_render(runner, item, renderer)

    def row(runner: CaseRunner, item: Planned, *more: Any) -> Any:
        found.append(f"row {item.case.id}")
        return real_row(runner, item, *more)

    monkeypatch.setattr(CaseRunner, "render", render)
    monkeypatch.setattr(CaseRunner, "row", row)
    return found


def steps(text: str) -> list[str]:
    """Return in words: ``r0 r1 w0`` renders two cases, then makes the row of the first."""
    words = {"r": "render", "w": "row"}
    return [f"{words[step[0]]} {ORDER[int(step[1])]}" for step in text.split()]


def test_as_many_cases_render_ahead_as_processes_score(
    project: Path, pytester: pytest.Pytester, said: list[str]
) -> None:
    pytester.runpytest_inprocess(*COMMAND)
    assert said == steps("r0 r1 r2 w0 r3 w1 w2 w3")
    assert set(rows(project / "run")) == set(ORDER)
    said.clear()
    pytester.runpytest_inprocess(CASES, "--no-harness-report", "--harness-results=one")
    assert said == steps("r0 w0 r1 w1 r2 w2 r3 w3")


def test_nothing_renders_ahead_of_scores_that_are_there(
    project: Path, pytester: pytest.Pytester, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runs.session.ScoringPool", lambda scorer, *_: ScoringPool(scorer, None, 0))
    pytester.runpytest_inprocess(*COMMAND)
    assert said == steps("r0 w0 r1 w1 r2 w2 r3 w3")


SKIPS = {
    "a mark": "item.add_marker(pytest.mark.skip)",
    "its own setup": "item.setup = lambda: pytest.skip('not today')",
}


@pytest.mark.parametrize(
    ("how", "order"), [("a mark", "r0 w0 r2 r3 w2 w3"), ("its own setup", "r0 r1 r2 w0 r3 w2 w3")]
)
def test_a_skipped_case_neither_stops_nor_keeps_the_others(
    project: Path, pytester: pytest.Pytester, said: list[str], how: str, order: str
) -> None:
    pytester.makeconftest(f"""
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                if item.name == {ORDER[1]!r}:
                    {SKIPS[how]}
    """)
    pytester.runpytest_inprocess(*COMMAND).assert_outcomes(skipped=1, failed=3)
    assert said == steps(order)
    assert set(rows(project / "run")) == {ORDER[0], *ORDER[2:]}


def test_bad_input_ahead_fails_its_own_test_once(
    project: Path, pytester: pytest.Pytester, said: list[str]
) -> None:
    shutil.copyfile(project / CASES / "drifted.png", project / CASES / "plain.png")
    result = pytester.runpytest_inprocess(*COMMAND, "--harness-update-baselines")
    result.assert_outcomes(passed=2, failed=1, xfailed=1)
    result.stdout.fnmatch_lines(
        ["error: *preview*hashes to*", "  case      tiny/plain", "  report    none was asked for*"]
    )
    assert said == steps("r0 w0 r2 r3 w2 w3")
    verdicts = {case: row.verdict.value for case, row in rows(project / "run").items()}
    assert verdicts == dict(zip(ORDER, ["drift", "error", "match", "match"], strict=True))


def test_the_first_failure_ends_a_session_whatever_was_rendered_ahead(
    project: Path, pytester: pytest.Pytester, said: list[str]
) -> None:
    pytester.runpytest_inprocess(*COMMAND, "-x").assert_outcomes(failed=1)
    assert said == steps("r0 r1 r2 w0")
    assert list(rows(project / "run")) == ORDER[:1]


def test_variants_of_a_sweep_come_before_the_next_case(
    project: Path, pytester: pytest.Pytester, said: list[str]
) -> None:
    pytester.runpytest_inprocess(*COMMAND, "--harness-sweep=shift", "-k", "drifted or plain")
    first = [line for line in said if line.endswith(ORDER[0])]
    assert len(first) > 2
    assert said[: len(first)] == first


@pytest.fixture
def items(project: Path, pytester: pytest.Pytester) -> Callable[[], list[CaseItem]]:
    def collected() -> list[CaseItem]:
        session = pytester.inline_genitems(CASES)[0][0].session
        return [item for item in session.items if isinstance(item, CaseItem)]

    return collected


def test_another_base_or_test_stops_what_renders_ahead(items: Callable[[], list[CaseItem]]) -> None:
    made = items()
    planned = [item.planned for item in made]
    assert planned[0] is not None
    assert planned[3] is not None
    assert planned[3].request is not None
    assert list(following(planned[0], made[1])) == planned[1:]
    assert list(following(planned[0], None)) == []
    elsewhere = dataclasses.replace(planned[3].request, base=Base(repo="ostris/Flex.2-preview"))
    made[3].planned = dataclasses.replace(planned[3], request=elsewhere)
    assert list(following(planned[0], made[1])) == planned[1:3]
    made[2].session.items[2] = made[2].parent  # type: ignore[call-overload]  # not a case
    assert list(following(planned[0], made[1])) == planned[1:2]


@pytest.mark.parametrize(("named", "second"), [(True, 2), (False, 1)])
def test_an_xdist_worker_renders_ahead_what_it_surely_runs(
    items: Callable[[], list[CaseItem]], monkeypatch: pytest.MonkeyPatch, named: bool, second: int
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    made = items()
    planned = [item.planned for item in made]
    if named:
        name_groups(made)
    assert planned[0] is not None
    assert planned[1] is not None
    assert list(following(planned[0], made[1])) == planned[1:2]
    assert list(following(planned[1], made[2])) == planned[2 : 2 + second]


def test_xdist_workers_share_the_scoring_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    found = []
    for workers in (1, 2, 8, 64):
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(workers))
        found.append(score_workers("cuda"))
    assert found == [4, 4, 2, 1]
    assert score_workers("cpu") == 0

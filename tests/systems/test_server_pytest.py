"""``pytest --harness-server``: case items render on a server, also those whose base is not here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.schema.base import Base
from harness.schema.case import Case, save_case
from tests.pytest_plugin.conftest import master, project
from tests.systems.reference_server import ReferenceServer

__all__ = ["master", "project"]
pytestmark = pytest.mark.usefixtures("project")


def test_case_items_render_on_the_server(
    server: ReferenceServer,
    make_cases: Callable[[int], list[Case]],
    tmp_path: Path,
    pytester: pytest.Pytester,
) -> None:
    _, second = make_cases(2)
    hub = Base(repo="ostris/Flex.2-preview", revision="0" * 40)
    save_case(second.model_copy(update={"base": hub}), second.folder / "s001.case.yaml")
    command = (str(tmp_path / "cases"), f"--harness-server={server.url}", "--no-harness-report")
    first = pytester.runpytest_inprocess(*command, "--harness-update-baselines")
    first.stdout.fnmatch_lines(["harness: 2 cases on the server"])
    assert len(server.posts) == 2
    again = pytester.runpytest_inprocess(*command, "--harness-results=again")
    assert again.ret == 0
    rows = [json.loads(line) for line in (pytester.path / "again" / "results.jsonl").read_text().splitlines()]
    assert [row["reason"].partition(";")[0] for row in rows] == ["bit-equal to its baseline"] * 2
    assert {row["baseline"]["environment"] for row in rows} == {f"server-127-0-0-1-{server.port}"}


def test_a_server_that_is_not_there_fails_each_case_in_one_line(
    make_cases: Callable[[int], list[Case]], tmp_path: Path, pytester: pytest.Pytester
) -> None:
    make_cases(1)
    ended = pytester.runpytest_inprocess(str(tmp_path / "cases"), "--harness-server=http://127.0.0.1:9")
    assert ended.ret != 0
    ended.stdout.fnmatch_lines(["*server 127.0.0.1:9: cannot be reached*"])
    assert "Traceback" not in ended.stdout.str() + ended.stderr.str()


def test_against_the_reference_row_terminal_and_report_say_whose_drift_it_is(
    make_cases: Callable[[int], list[Case]], tmp_path: Path, pytester: pytest.Pytester
) -> None:
    make_cases(2)  # two steps instead of 25: both drift from their preview
    server = ReferenceServer(tmp_path / "outputs", guidance=6.0)
    server.drifts = lambda prompt: prompt["seed"] == 1
    try:
        ended = pytester.runpytest_inprocess(
            str(tmp_path / "cases"),
            f"--harness-server={server.url}",
            "--harness-against-reference",
            "--harness-results=run",
        )
    finally:
        server.close()
    ended.stdout.fnmatch_lines(
        ["drift from the server: 1 (job/s001)", "drift from the settings: 1 (job/s000)"]
    )
    lines = (pytester.path / "run" / "results.jsonl").read_text().splitlines()
    reasons = {row["case"]: row["reason"] for row in map(json.loads, lines)}
    assert "the drift comes from the settings: the server's image is the reference's" in reasons["job/s000"]
    assert "the drift comes from the server: the server's image differs" in reasons["job/s001"]
    page = (pytester.path / "run" / "index.html").read_text()
    assert "the server: 1" in page
    assert "the settings: 1" in page

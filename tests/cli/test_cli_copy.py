"""``--copy-to``: what the commands print about a run's copy, and that the report is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.full_disk import full

Harness = Callable[..., Any]


def names(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix() for path in paths}


def test_the_report_is_copied_too_and_a_fresh_machine_goes_on(harness: Harness, cases: Path) -> None:
    there = Path.cwd() / "mounted" / "run"
    command = ("run", cases, "--device", "cpu", "--copy-to", f"file://{there}")
    first = harness(*command, "--out", "here")
    assert first.code == 1
    assert first.out.endswith(f"copy: file://{there}\n")
    assert names(there) == names(Path("here"))
    assert "index.html" in names(there)

    again = harness(*command)
    assert again.code == 1
    assert "2 of them done before" in again.out
    (fetched,) = Path("reports").iterdir()
    assert names(there) == names(fetched)


def test_a_sweep_that_cannot_be_copied_is_told_after_its_report(
    harness: Harness, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runs.mirror.Mirror._put", full)
    url = f"file://{Path.cwd()}/there"
    ended = harness(
        "sweep", cases, "--limit", "1", "--axis", "seed=1", "--device", "cpu", "--out", "run",
        "--copy-to", url,
    )  # fmt: skip
    assert ended.code == 2
    assert ended.out.endswith("report: run/index.html\n")
    assert ended.err == (
        f"harness: {url}: --copy-to: is not complete (No space left on device); run holds the whole run: "
        "repeat the command with --out run, which sends what is missing\n"
    )


@pytest.mark.parametrize("command", [("run",), ("sweep", "--axis", "seed=1")])
def test_a_bad_place_is_one_line_before_anything_renders(
    harness: Harness, cases: Path, command: tuple[str, ...]
) -> None:
    ended = harness(*command, cases, "--device", "cpu", "--copy-to", "nope://me:secret@host/run")
    assert ended.code == 2
    assert ended.err == (
        "harness: --copy-to: no URL that fsspec knows: 'nope://…@host/run'; "
        "give one such as s3://bucket/nights/1 or file:///mnt/nights/1\n"
    )
    assert list(Path.cwd().iterdir()) == []

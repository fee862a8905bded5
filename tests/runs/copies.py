"""Runs that are copied to a URL, and what lies there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.core import url_to_fs

from harness.errors import RunError
from harness.runs.folder import RunFolder
from harness.runs.mirror import Mirror
from harness.runs.plan import RunOptions
from harness.runs.results import RunResult
from harness.runs.run import run_cases
from harness.schema.case import Case
from harness.schema.result import Row

IDENTITY = {"cases": ["small/a"], "device": "cpu"}


def there(url: str) -> dict[str, bytes]:
    """Every file at ``url`` and what it holds."""
    fs, root = url_to_fs(url)
    return {path.removeprefix(f"{root}/"): fs.cat_file(path) for path in fs.find(root)}


def put(url: str, data: bytes = b"precious") -> None:
    fs, path = url_to_fs(url)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, data)


def visible(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def run(cases: list[Case], out: Path, url: str, renderer: Any = None, **options: Any) -> RunResult:
    asked = RunOptions(**{"device": "cpu", "copy_to": url, **options})
    return run_cases(cases, out=out, options=asked, renderer=renderer)


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def opened(folder: Path, url: str, **identity: Any) -> tuple[RunFolder, Mirror]:
    copy = Mirror(folder, url)
    copy.check({**IDENTITY, **identity})
    return RunFolder(folder, {**IDENTITY, **identity}, {"created": "today"}, copy.fetch), copy


def send(folder: Path, url: str, *rows: Row) -> None:
    """Add rows to the run in ``folder`` and bring it to ``url``."""
    run_folder, copy = opened(folder, url)
    with run_folder, copy:
        for row in rows:
            run_folder.append(row)


def refused(out: Path, url: str, kind: type[RunError] = RunError, **identity: Any) -> str:
    with pytest.raises(kind) as caught:
        opened(out, url, **identity)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)

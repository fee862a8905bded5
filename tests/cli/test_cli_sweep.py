"""Bad input of ``harness sweep``: one line, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.refused import refused


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--axis", "sheduler=UniPC"], "unknown axis 'sheduler'; did you mean 'scheduler'?"),
        (["--axis", "noise=legcy"], "noise: unknown value 'legcy'; did you mean 'legacy'?"),
        (["--preset", "shedule"], "unknown preset 'shedule'; did you mean 'scheduler'?"),
        (
            ["--axis", "generator=cuda", "--device", "cpu"],
            "generator=cuda: generator: it needs a GPU",
        ),
        ([], "grid: the grid is empty; give --axis, --grid or --preset"),
        (["--grid", "absent.yaml"], "absent.yaml: cannot be read"),
    ],
)
def test_a_bad_sweep(harness: Callable[..., Any], cases: Path, arguments: list[str], line: str) -> None:
    assert line in refused(harness("sweep", cases, "--out", "run", *arguments))
    assert not Path("run").exists()

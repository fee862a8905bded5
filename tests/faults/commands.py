"""The commands that are stopped, and what each leaves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CPU = ["--device", "cpu"]


def _harness(*arguments: str) -> Callable[[], None]:
    def main() -> None:
        from harness.cli import main as command

        sys.argv = ["harness", *arguments]
        command()

    return main


def _pytest() -> None:
    import pytest

    options = ["--harness-update-baselines", "--harness-reason=kept", "--harness-results=run", "--rootdir=."]
    plain = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:timeout",
        "-p",
        "no:xdist",
        "-q",
    ]
    try:
        sys.exit(int(pytest.main(["cases", *options, *plain, "-c", os.devnull])))
    except KeyboardInterrupt:  # outside its session pytest leaves that to Python; so does the harness
        print("KeyboardInterrupt", file=sys.stderr)
        sys.exit(130)


@dataclass(frozen=True)
class Kind:
    """A command, what it starts from, and whether the report's pages must be the same too.

    Attributes:
        marker: a file that is there from the beginning of the work to its end, in the run folder.
    """

    main: Callable[[], None]
    needs: tuple[str, ...] = ("cases",)
    pages: bool = False
    marker: str | None = None

    def was_through(self, work: Path) -> bool:
        """Whether the work was done and only the process had not ended."""
        run = work / "run"
        return self.marker is not None and (run / "run.json").exists() and not (run / self.marker).exists()


WITH_WORKERS = "run --score-workers 2"
KINDS = {
    "run": Kind(_harness("run", "cases", "--out", "run", *CPU)),
    WITH_WORKERS: Kind(_harness("run", "cases", "--out", "run", "--score-workers", "2", *CPU)),
    "sweep": Kind(_harness("sweep", "cases", "--out", "run", "--axis", "guidance_scale=1,7", *CPU)),
    "calibration": Kind(
        _harness("calibrate", "cases/lora_0.case.yaml", "--run", "run", "--out", "tolerance.json", *CPU)
    ),
    "pytest --harness-update-baselines": Kind(_pytest, marker=".run.json.unfinished"),
    "harness accept": Kind(_harness("accept", "run", "--reason", "kept"), ("run",)),
    "report": Kind(_harness("report", "run"), ("run",), pages=True),
    "import": Kind(_harness("import", "job", "--out", "imported"), ("job",)),
}


INTERRUPTED = ("run", WITH_WORKERS, "sweep", "calibration", "pytest --harness-update-baselines")
FULL = ("run", "pytest --harness-update-baselines", "harness accept", "report", "import")


def contents(work: Path, *, pages: bool) -> dict[str, Any]:
    """Return all visible files by name, without times and, unless ``pages``, without pages that show them."""
    found: dict[str, Any] = {}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(work).parts):
            continue
        if path.name == "results.jsonl":
            found |= {f"row {row['case']} {row['variant']}": row for row in rows_of(path)}
        elif path.name in {"run.json", "tolerance.json"} or (
            name.startswith("baselines/") and path.suffix == ".json"
        ):
            found[name] = _without_times(json.loads(path.read_bytes()))
        elif pages or path.suffix in {".png", ".jpg", ".webp", ".yaml", ".safetensors", ".zz"}:
            found[name] = path.read_bytes()
        else:
            found[name] = None
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a results file."""
    return [_without_times(json.loads(line)) for line in path.read_bytes().split(b"\n")[:-1]]


def _without_times(data: Any) -> Any:
    if isinstance(data, list):
        return [_without_times(each) for each in data]
    if isinstance(data, dict):
        times = {"seconds", "created", "accepted", "date"}
        return {key: _without_times(value) for key, value in data.items() if key not in times}
    return data

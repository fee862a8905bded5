"""Run folders of one row each, a day apart."""

from __future__ import annotations

import json
from pathlib import Path

from harness.runs.folder import MANIFEST, RESULTS
from harness.schema.result import Row


def write_runs(root: Path, rows: list[Row]) -> None:
    for index, found in enumerate(rows):
        run = root / f"night-{index:02}"
        run.mkdir(parents=True)
        (run / MANIFEST).write_text(json.dumps({"identity": {}, "created": f"2026-11-{index + 1:02}T03:00"}))
        (run / RESULTS).write_text(found.model_dump_json() + "\n")

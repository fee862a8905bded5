"""Run folders of one row each, a day apart."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from harness.runs.run_files import MANIFEST, RESULTS
from harness.schema.result import Row


def write_runs(root: Path, rows: list[Row]) -> None:
    for index, found in enumerate(rows):
        run = root / f"night-{index:02}"
        run.mkdir(parents=True)
        created = datetime.datetime(2026, 11, 1, 3) + datetime.timedelta(days=index)
        manifest = {"identity": {}, "created": created.isoformat(timespec="minutes")}
        (run / MANIFEST).write_text(json.dumps(manifest))
        (run / RESULTS).write_text(found.model_dump_json() + "\n")

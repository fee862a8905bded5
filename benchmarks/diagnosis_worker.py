"""Diagnose cases with the build on PYTHONPATH, by its public function; benchmarks/diagnosis.py starts it.

Reads a JSON object a line, {"case": FILE} or {"job": FOLDER, "case": ID, "out": FOLDER}; answers with one.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import harness


def diagnose(task: dict[str, Any]) -> dict[str, Any]:
    """Return what the build says about one case, and the seconds that it took."""
    started = time.perf_counter()
    try:
        found = harness.diagnose(_case(task)).to_json()
    except harness.HarnessError as error:
        return {"error": str(error), "seconds": time.perf_counter() - started}
    answer = {key: found[key] for key in ("causes", "explained", "rivals", "spent", "renders")}
    return answer | {"seconds": time.perf_counter() - started}


def _case(task: dict[str, Any]) -> harness.Case:
    """Return the case; genuine previews are of the current era of noise, whatever torch renders here."""
    if "job" not in task:
        return harness.load_case(Path(task["case"]))
    harness.import_job(Path(task["job"]), out=Path(task["out"]), steps="all")
    case = harness.load_case(Path(task["out"]) / f"{task['case']}.case.yaml")
    if case.noise != "auto" or case.file is None:
        return case
    return harness.save_case(case.model_copy(update={"noise": "current"}), case.file)


def main() -> None:
    """Answer every line of the input."""
    for line in sys.stdin:
        print(json.dumps(diagnose(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

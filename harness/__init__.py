"""Re-render AI Toolkit's Flex.2 training previews through the reference pipeline and measure the drift.

The whole public face; everything is loaded on first use, so that ``import harness`` stays light::

    import harness

    imported = harness.import_job(Path("output/my_lora"), out=Path("cases/my_lora"))
    result = harness.run_cases(imported.cases, out=Path("reports/my_lora"))
    print(result.frame()[["case", "verdict", "ssim", "lpips", "psnr"]])
    harness.build_report(result.folder)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.calibration.calibrate import calibrate
    from harness.demo import run_demo
    from harness.diagnosis.diagnose import diagnose
    from harness.diagnosis.fix import fix_case
    from harness.doctor import examine
    from harness.errors import HarnessError
    from harness.history.timeline import history_frame, read_history
    from harness.importers.aitoolkit import import_job
    from harness.importers.draft import ImportResult
    from harness.importers.server_request import import_request
    from harness.judging.findings import static_findings
    from harness.report.build import build_report
    from harness.report.bundle import import_bundle, write_bundle
    from harness.report.history_page import build_history
    from harness.report.job_summary import job_summary
    from harness.report.review import apply_review
    from harness.runs.accept import accept_run
    from harness.runs.plan import RunOptions
    from harness.runs.rescore import rescore
    from harness.runs.results import RunResult, load_run
    from harness.runs.run import run_cases
    from harness.schema.case import Base, Case, Tolerance, case_schema, load_case, load_cases, save_case
    from harness.schema.result import Row, Verdict
    from harness.sweeps.grid import Variant, parse_axis, preset, product, read_grid
    from harness.sweeps.sweep import sweep_cases

_HOMES = {
    "Base": "schema.case",
    "Case": "schema.case",
    "HarnessError": "errors",
    "ImportResult": "importers.draft",
    "Row": "schema.result",
    "RunOptions": "runs.plan",
    "RunResult": "runs.results",
    "Tolerance": "schema.case",
    "Variant": "sweeps.grid",
    "Verdict": "schema.result",
    "accept_run": "runs.accept",
    "apply_review": "report.review",
    "build_history": "report.history_page",
    "build_report": "report.build",
    "calibrate": "calibration.calibrate",
    "case_schema": "schema.case",
    "diagnose": "diagnosis.diagnose",
    "examine": "doctor",
    "fix_case": "diagnosis.fix",
    "history_frame": "history.timeline",
    "import_bundle": "report.bundle",
    "import_job": "importers.aitoolkit",
    "import_request": "importers.server_request",
    "job_summary": "report.job_summary",
    "load_case": "schema.case",
    "load_cases": "schema.case",
    "load_run": "runs.results",
    "parse_axis": "sweeps.grid",
    "preset": "sweeps.grid",
    "product": "sweeps.grid",
    "read_grid": "sweeps.grid",
    "read_history": "history.timeline",
    "rescore": "runs.rescore",
    "run_cases": "runs.run",
    "run_demo": "demo",
    "save_case": "schema.case",
    "static_findings": "judging.findings",
    "sweep_cases": "sweeps.sweep",
    "write_bundle": "report.bundle",
}

__all__ = [
    "Base",
    "Case",
    "HarnessError",
    "ImportResult",
    "Row",
    "RunOptions",
    "RunResult",
    "Tolerance",
    "Variant",
    "Verdict",
    "accept_run",
    "apply_review",
    "build_history",
    "build_report",
    "calibrate",
    "case_schema",
    "diagnose",
    "examine",
    "fix_case",
    "history_frame",
    "import_bundle",
    "import_job",
    "import_request",
    "job_summary",
    "load_case",
    "load_cases",
    "load_run",
    "parse_axis",
    "preset",
    "product",
    "read_grid",
    "read_history",
    "rescore",
    "run_cases",
    "run_demo",
    "save_case",
    "static_findings",
    "sweep_cases",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

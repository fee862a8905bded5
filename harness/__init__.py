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
    from harness.aitoolkit import import_job
    from harness.baselines.accept import accept_run
    from harness.bundle import import_bundle, write_bundle
    from harness.calibration.run import calibrate
    from harness.case import Base, Case, Tolerance, case_schema, load_case, load_cases, save_case
    from harness.demo import run_demo
    from harness.diagnosis.diagnose import diagnose
    from harness.diagnosis.findings import static_findings
    from harness.diagnosis.fix import fix_case
    from harness.doctor import examine
    from harness.errors import HarnessError
    from harness.history.nights import history_frame, read_history
    from harness.history.summary import job_summary
    from harness.importing import ImportResult
    from harness.report.build import build_report
    from harness.report.history import build_history
    from harness.report.review import apply_review
    from harness.request import import_request
    from harness.runs.execute import run_cases
    from harness.runs.plan import RunOptions
    from harness.runs.rescore import rescore
    from harness.runs.results import RunResult, load_run
    from harness.runs.row import Row, Verdict
    from harness.variants.grid import Variant, parse_axis, preset, product, read_grid
    from harness.variants.sweep import sweep_cases

_HOMES = {
    "Base": "case",
    "Case": "case",
    "HarnessError": "errors",
    "ImportResult": "importing",
    "Row": "runs.row",
    "RunOptions": "runs.plan",
    "RunResult": "runs.results",
    "Tolerance": "case",
    "Variant": "variants.grid",
    "Verdict": "runs.row",
    "accept_run": "baselines.accept",
    "apply_review": "report.review",
    "build_history": "report.history",
    "build_report": "report.build",
    "calibrate": "calibration.run",
    "case_schema": "case",
    "diagnose": "diagnosis.diagnose",
    "examine": "doctor",
    "fix_case": "diagnosis.fix",
    "history_frame": "history.nights",
    "import_bundle": "bundle",
    "import_job": "aitoolkit",
    "import_request": "request",
    "job_summary": "history.summary",
    "load_case": "case",
    "load_cases": "case",
    "load_run": "runs.results",
    "parse_axis": "variants.grid",
    "preset": "variants.grid",
    "product": "variants.grid",
    "read_grid": "variants.grid",
    "read_history": "history.nights",
    "rescore": "runs.rescore",
    "run_cases": "runs.execute",
    "run_demo": "demo",
    "save_case": "case",
    "static_findings": "diagnosis.findings",
    "sweep_cases": "variants.sweep",
    "write_bundle": "bundle",
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

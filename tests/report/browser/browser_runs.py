"""The run that the browser tests look at: every verdict, two jobs, two steps, a variant, hostile text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness._util.atomic_files import sha256_file, write_text
from harness.schema.case_parts import LoraRef, Preview, SampleSettings
from harness.schema.result import Finding, Verdict
from tests.report.report_runs import Run, accept_of, case_of, rendered_of, sample, scores_of

HOSTILE = (
    "</p></article></template><script>window.hacked = 1; alert(1)</script>"
    "<img src=x onerror='window.hacked = 2'> \"quoted\" 'single' &amp; {{ 7 * 7 }} --> ]]> "
    "\u202eright to left\u202c שלום مرحبا 🌸🧪 " + "flower " * 1500
)
"""More than 10,000 characters."""

FINDINGS = [
    Finding("lora-keys", "error", "holds no tensors", "lora.file"),
    Finding("quantized", "warning", "the job was quantized", "trained.quantize", "set quantize"),
    Finding("codec", "info", HOSTILE[:300], "preview.file"),
]

DIAGNOSIS = {
    "case": "job/much",
    "composition": "same",
    "causes": [{"axis": "shift", "value": 3.0, "reference_value": "off", "gap_closed": 0.93}],
    "explained": True,
    "renders": 12,
    "recipe": HOSTILE[:300],
}

VARIANT = HOSTILE[:120].replace("/", "")

Open = Callable[..., Any]
"""Opens a page: path, query, options of the browser context."""

TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def settle(page: Any) -> None:
    """Wait until a change of size has gone all the way: observers of it run once in a frame."""
    page.evaluate(TWO_FRAMES)


def make_run(path: Path) -> Path:
    run = Run(path)
    preview, other, near = sample(30, 0), sample(0, 0), sample(20, 0)
    run.compared(case_of(preview, "job/same"), preview, preview)
    run.compared(
        case_of(preview, "job/some"), preview, other, scores=scores_of(preview, other, ssim=0.97, lpips=0.01)
    )
    run.compared(
        case_of(preview, "job/much"),
        preview,
        other,
        scores=scores_of(preview, other, ssim=0.3, lpips=0.4),
        findings=FINDINGS,
        baseline=accept_of(scores_of(preview, near), {"python": "3.11.7"}, rendered_of(case_of(near, "x"))),
    )
    run.compared(
        case_of(
            near,
            "other/early",
            preview=_preview(near, step=20),
            lora=LoraRef(file="b.safetensors", sha256="a" * 64),
        ),
        near,
        other,
        scores=scores_of(near, other, ssim=0.5, lpips=0.3),
    )
    run.compared(case_of(preview, "job/same"), preview, preview, variant="shift 3")
    run.bare(case_of(preview, "job/gone"), preview, Verdict.INCOMPARABLE, "the checkpoint was pruned")
    run.bare(case_of(preview, "job/broken"), preview, Verdict.ERROR, "out of memory")
    settings = SampleSettings(prompt=HOSTILE, width=128, height=128, sample_steps=4)
    run.compared(
        case_of(preview, "other/hostile", settings=settings, assumptions=[HOSTILE]),
        preview,
        preview,
        variant=VARIANT,
        reason=HOSTILE,
    )
    write_text(path / "diagnosis" / "much.json", json.dumps(DIAGNOSIS))
    return path


def _preview(path: Path, step: int) -> Preview:
    return Preview(file=path.name, sha256=sha256_file(path), width=128, height=128, step=step)

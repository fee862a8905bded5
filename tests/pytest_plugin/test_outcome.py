"""What a failing item says."""

from __future__ import annotations

from pathlib import Path

from harness.judging.verdict import DEFAULT_TOLERANCE
from harness.pytest_plugin.outcome import Checked, explain
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.case_parts import Preview, SampleSettings
from harness.schema.result import Finding, Images, Row, Verdict


def drifting(reason: str) -> Row:
    case = Case(
        id="job/0",
        base=Base(embedded="tiny-flex2-emoji"),
        preview=Preview(file="0.png", sha256="1" * 64, width=64, height=64),
        settings=SampleSettings(prompt="a cat", width=64, height=64),
        assumptions=["the seed walks"],
    )
    return Row(
        case=case.id, verdict=Verdict.DRIFT, reason=reason, settings={}, environment={}, key="k",
        tolerance=DEFAULT_TOLERANCE, images=Images(preview="0.png"), description=case,
        findings=[
            Finding("quantized", "warning", "the job was quantized", "trained.quantize"),
            Finding("codec", "info", "the preview is a JPEG", "preview.file"),
            Finding("noise-era", "info", "the torch is not known", "trained.software"),
        ],
    )  # fmt: skip


def test_likely_causes_are_what_the_case_shows_by_itself() -> None:
    row = drifting("far off")
    lines = [line.strip() for line in explain(Checked(row, Path("b.json"), "page.html")).splitlines()]
    assert [line for line in lines if line.startswith("cause?")] == [
        "cause?    the job was quantized",
        "cause?    the torch is not known",
        "cause?    the seed walks",
    ]


def test_text_of_strangers_moves_no_cursor() -> None:
    first, *_ = explain(Checked(drifting("\x1b[2J far\noff"), Path("b.json"), "page.html")).splitlines()
    assert first == r"drift: \x1b[2J far\noff"

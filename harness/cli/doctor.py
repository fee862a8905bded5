"""``harness doctor``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.command import command, path

_MARKS = {"ok": ("✓ ok", "green"), "note": ("• note", "yellow"), "missing": ("✗ missing", "red")}


@command()
@click.argument(
    "cases", metavar="[CASES]...", nargs=-1, type=path,
    help="Case files or folders, whose recorded versions of AI Toolkit are compared. Default: the newest.",
)  # fmt: skip
def doctor(cases: tuple[Path, ...]) -> None:
    """Say what a real run needs and what this machine has. Exit code 2 where something is missing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness._util.redaction import visible
    from harness.doctor import examine
    from harness.schema.case import load_cases

    findings = examine(load_cases(cases) if cases else ())
    table = Table(box=None, show_header=False)
    for finding in findings:
        text, style = _MARKS[finding.level]
        table.add_row(Text(text, style), Text(finding.topic), Text(visible(finding.found)))
        if finding.advice:
            table.add_row("", "", Text(f"→ {visible(finding.advice)}", "dim"))
    Console().print(table)
    if any(finding.level == "missing" for finding in findings):
        sys.exit(2)

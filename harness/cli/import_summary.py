"""What ``harness import`` prints: which settings each preview was paired with, and what was assumed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness._util.real_paths import real_path
from harness._util.redaction import printable, visible
from harness._util.words import size_text, some
from harness.cli.progress import count
from harness.importers.draft import ImportResult
from harness.runs.progress import tail
from harness.schema.case import Case

T = TypeVar("T")

LORA_WIDTH, MIN_PROMPT = 15, 10
"""Columns of the terminal: of a LoRA's name its end is shown, which has the step; of a prompt its start."""

MAX_NAMES = 4
"""Cases that are named beside one reason."""


def show(result: ImportResult) -> None:
    """Print the cases of an import, what was assumed for them, and what to type next."""
    console = Console()
    console.print(_table(result.cases))
    assumed = [line if line.startswith("left out: ") else f"assumed: {line}" for line in result.assumptions]
    for line in (*_not_comparable(result.cases), *assumed, *_sample_assumptions(result.cases)):
        console.print(Text(visible(line)))
    if near := [case.name for case in result.cases if case.neighbours]:
        console.print(
            Text(
                f"{count(len(near))} without a checkpoint can be rendered with those around it: --neighbours"
            )
        )
    ready = [case for case in result.cases if case.incomparable is None]
    folder = from_here(result.folder)
    console.print(Text(f"{count(len(result.cases))} ({len(ready)} can be re-run) → {folder}"))
    for line in _next(ready, f"harness run {shlex.quote(str(folder))}"):
        console.print(Text(line), soft_wrap=True)


def from_here(folder: Path) -> Path:
    """Return ``folder`` relative to the working directory where it lies below it."""
    here = real_path(Path.cwd())
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _table(cases: Sequence[Case]) -> Table:
    """Return one row per case; where a terminal is too narrow, only the prompt is cut."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("case", "LoRA", "mult", "seed", "size", "steps", "cfg"):
        table.add_column(name, no_wrap=True)
    table.add_column("prompt", min_width=MIN_PROMPT)  # may wrap, so that it is narrowed first
    for case in cases:
        settings, lora = case.settings, case.lora
        cells = (
            case.name + (" (older config)" if case.preview.older_config else ""),
            tail(visible(Path(lora.file).stem), LORA_WIDTH) if lora else "none",
            f"{lora.network_multiplier:g}" if lora else "",
            str(settings.seed),
            size_text(case.preview.size),
            str(settings.sample_steps),
            f"{settings.guidance_scale:g}",
        )
        prompt = Text(printable(settings.prompt), no_wrap=True, overflow="ellipsis")
        table.add_row(*map(Text, cells), prompt, style="cyan" if case.incomparable else None)
    return table


def _not_comparable(cases: Sequence[Case]) -> list[str]:
    """Return each reason once, with the cases that it holds for."""
    found = _grouped((case.incomparable, case.name) for case in cases if case.incomparable is not None)
    return [f"cannot be re-run: {some(names, MAX_NAMES)}: {reason}" for reason, names in found.items()]


def _sample_assumptions(cases: Sequence[Case]) -> list[str]:
    """Return each assumption once, with the numbers of the samples that it concerns."""
    found = _grouped((line, case.preview.index or 0) for case in cases for line in case.assumptions)
    return [
        f"assumed for sample{'s' if len(set(samples)) > 1 else ''} "
        f"{', '.join(map(str, sorted(set(samples))))}: {line}"
        for line, samples in found.items()
    ]


def _grouped(lines: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for line, value in lines:
        groups.setdefault(line, []).append(value)
    return groups


def _next(cases: Sequence[Case], command: str) -> list[str]:
    """Return what to type next; a repository's own pipeline code is run only by one who trusts it."""
    if not cases:
        return []
    repo = next((case.base for case in cases if case.base.repo and case.pipeline != "builtin"), None)
    if repo is None:
        return [f"next: {command}"]
    pin = "" if repo.revision else f" --base {repo}@COMMIT"
    return [
        f"next: {command} --pipeline builtin",
        f"  or: {command} --trust-remote-code{pin}   (runs the pipeline.py of {repo}: read it first)",
    ]

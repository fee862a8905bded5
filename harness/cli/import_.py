"""``harness import``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import BaseOption

if TYPE_CHECKING:
    from rich.table import Table

    from harness.importers.draft import ImportResult
    from harness.schema.case import Case

HEADER = ("case", "LoRA", "mult", "seed", "size", "steps", "cfg", "prompt")
LORA_WIDTH, MIN_PROMPT = 15, 10
"""Columns of the terminal: of a LoRA's name its end is shown, which has the step; of a prompt its start."""


def import_(
    source: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="JOB_DIR",
            help="Job folder of AI Toolkit, or a zip of harness bundle. With --request: more images.",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS", help="Which samples: all, last, or steps like 250,500.", show_default="all"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the case files. Default: cases/<job name>.")
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(help="Take the settings from a request JSON of the reference server instead."),
    ] = None,
    preview: Annotated[
        list[Path] | None,
        typer.Option(metavar="IMG…", help="With --request: its images, one per prompt, in order."),
    ] = None,
    base: BaseOption = None,
) -> None:
    """Make case files from an AI Toolkit job folder, or from a request JSON and its images.

    Prints what each preview was paired with, and what had to be assumed.
    Importing again brings the cases up to date and keeps what was set in them by hand.

    Example: harness import output/my_lora --steps last
    """
    from harness.errors import HarnessError

    sources, images = source or [], preview or []
    if request is not None:
        _show(_import_request(request, images, sources, steps, base, out))
        return
    if len(sources) != 1 or images:
        raise HarnessError("give one JOB_DIR, or --request with --preview", fix="see harness import --help")
    (path,) = sources
    if path.suffix == ".zip" and path.is_file():
        if base or steps:
            fix = "leave the other options out, and unset HARNESS_BASE"
            raise HarnessError("a bundle takes only --out", file=path, fix=fix)
        return _import_bundle(path, out)
    _show(_import_job(path, steps, base, out))


def _import_job(job_dir: Path, steps: str | None, base: str | None, out: Path | None) -> ImportResult:
    from harness.importers.aitoolkit import import_job
    from harness.schema.case import Base

    return import_job(
        job_dir,
        base=Base.parse(base) if base else None,
        steps="all" if steps is None else steps,
        out=out or Path("cases") / Path(os.path.realpath(job_dir)).name,
    )


def _import_request(
    request: Path,
    previews: list[Path],
    more: list[Path],
    steps: str | None,
    base: str | None,
    out: Path | None,
) -> ImportResult:
    """Import a request; ``--preview A B`` reads as the option A and the argument B."""
    from harness.errors import HarnessError
    from harness.importers.server_request import import_request
    from harness.schema.case import Base

    if steps is not None:
        raise HarnessError("--steps goes with JOB_DIR, not with --request", fix="leave it out")
    if more and len(previews) != 1:
        raise HarnessError(
            f"{more[0]} stands beside --request without its --preview",
            fix="give all images behind one --preview, or each behind its own",
        )
    return import_request(
        request,
        [*previews, *more],
        base=Base.parse(base) if base else None,
        out=out or Path("cases") / request.stem,
    )


def _import_bundle(path: Path, out: Path | None) -> None:
    from harness.importers.bundle import import_bundle

    unpacked = import_bundle(path, out=out)
    folder = _from_here(unpacked.case.folder)
    typer.echo(f"{unpacked.case.id} → {folder}")
    if unpacked.missing_lora is not None and unpacked.case.lora is not None:
        typer.echo(f"put the LoRA of SHA-256 {unpacked.case.lora.sha256} at {unpacked.missing_lora}")
    typer.echo(f"next: harness run {shlex.quote(str(folder))}")


def _show(result: ImportResult) -> None:
    from rich.console import Console
    from rich.text import Text

    from harness.cli.show import count

    console = Console()
    console.print(_table(result, console.width))
    for line in (
        *_grouped("cannot be re-run", [(_stem(case), case.incomparable) for case in result.cases]),
        *(f"assumed: {line}" for line in result.assumptions),
        *_sample_assumptions(result.cases),
    ):
        console.print(Text(line))
    ready = [case for case in result.cases if case.incomparable is None]
    folder = _from_here(result.folder)
    console.print(Text(f"{count(len(result.cases))} ({len(ready)} can be re-run) → {folder}"))
    for line in _next(ready, f"harness run {shlex.quote(str(folder))}"):
        console.print(Text(line), soft_wrap=True)


def _table(result: ImportResult, width: int) -> Table:
    """Return one row per case; only the prompt is cut to fit ``width`` columns."""
    from rich.table import Table
    from rich.text import Text

    rows = [_row(case) for case in result.cases]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    widths[-1] = max(MIN_PROMPT, width - sum(widths[:-1]) - len(HEADER))
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name, columns in zip(HEADER, widths, strict=True):
        table.add_column(name, no_wrap=True, width=columns, overflow="ellipsis")
    for case, row in zip(result.cases, rows, strict=True):
        table.add_row(*map(Text, row), style="cyan" if case.incomparable else None)
    return table


def _row(case: Case) -> tuple[str, ...]:
    from harness.cli.show import tail

    settings, lora = case.settings, case.lora
    return (
        _stem(case),
        tail(Path(lora.file).stem, LORA_WIDTH) if lora else "none",
        f"{lora.network_multiplier:g}" if lora else "",
        str(settings.seed),
        f"{case.preview.width}×{case.preview.height}",
        str(settings.sample_steps),
        f"{settings.guidance_scale:g}",
        " ".join(settings.prompt.split()),
    )


def _sample_assumptions(cases: Sequence[Case]) -> list[str]:
    """Return each distinct assumption of the cases once, with the numbers of the samples it concerns."""
    samples: dict[str, set[int]] = {}
    for case in cases:
        for line in case.assumptions:
            samples.setdefault(line, set()).add(case.preview.index or 0)
    return [
        f"assumed for sample{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}: {line}"
        for line, numbers in samples.items()
    ]


def _grouped(what: str, lines: Sequence[tuple[str, str | None]], limit: int = 4) -> list[str]:
    """Return each distinct line once, with the names it holds for."""
    names: dict[str, list[str]] = {}
    for name, line in lines:
        if line is not None:
            names.setdefault(line, []).append(name)
    return [
        f"{what}: {', '.join(found[:limit])}"
        + (f" and {len(found) - limit} more" if len(found) > limit else "")
        + f": {line}"
        for line, found in names.items()
    ]


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


def _stem(case: Case) -> str:
    return case.id.rpartition("/")[2]


def _from_here(folder: Path) -> Path:
    here = Path.cwd().resolve()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder

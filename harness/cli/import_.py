"""``harness import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import BaseOption

if TYPE_CHECKING:
    from harness.importing import ImportResult


def import_(
    job_dir: Annotated[Path | None, typer.Argument(help="Job folder of AI Toolkit.")] = None,
    base: BaseOption = None,
    steps: Annotated[str, typer.Option(help="Which samples: all, last, or steps like 250,500.")] = "all",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the case files. Default: cases/<job name>.")
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(help="Take the settings from a request JSON of the reference server instead."),
    ] = None,
    preview: Annotated[
        list[Path] | None,
        typer.Option(help="With --request: one image per prompt, in order; repeat the option."),
    ] = None,
) -> None:
    """Make case files from an AI Toolkit job folder, or from a request JSON and its images."""
    from harness.case import Base
    from harness.errors import HarnessError

    parsed = Base.parse(base) if base else None
    if request is not None and job_dir is None:
        from harness.request import import_request

        result = import_request(request, preview or [], base=parsed, out=out or Path("cases") / request.stem)
    elif job_dir is not None and request is None and not preview:
        from harness.aitoolkit import import_job

        result = import_job(
            job_dir, base=parsed, steps=steps, out=out or Path("cases") / job_dir.resolve().name
        )
    else:
        raise HarnessError(
            "give either JOB_DIR, or --request with --preview", fix="see harness import --help"
        )
    _show(result)


def _show(result: ImportResult) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(
        "preview", "step", "#", "LoRA", "seed", "size", "steps", "note", box=None, header_style="bold"
    )
    for pairing, case in zip(result.pairings, result.cases, strict=True):
        settings = case.settings
        table.add_row(
            Text(Path(case.preview.file).name),
            str(case.preview.step if case.preview.step is not None else "–"),
            str(case.preview.index if case.preview.index is not None else "–"),
            Text(Path(case.lora.file).name if case.lora else "none"),
            str(settings.seed),
            f"{case.preview.width}×{case.preview.height}",
            str(settings.sample_steps),
            Text(case.incomparable or pairing.note, "cyan" if case.incomparable else "dim"),
        )
    console.print(table)
    for assumption in result.assumptions:
        console.print(Text(f"assumed: {assumption}"))
    ready = sum(case.incomparable is None for case in result.cases)
    console.print(Text(f"{len(result.cases)} cases ({ready} can be re-run) → {result.folder}"))
    console.print(Text(f"next: harness run {result.folder}"))

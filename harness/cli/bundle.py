"""``harness bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bundle(
    case: Annotated[str, typer.Argument(metavar="CASE", help="Id of the case.")],
    run: Annotated[
        Path | None, typer.Option(help="Run folder. Default: the newest under reports/ that has the case.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Which of the case's rows.")] = "reference",
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: <case>.bundle.zip.")] = None,
    with_lora: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Include the LoRA; otherwise only its hash goes along."),
    ] = None,
) -> None:
    """Write one zip that shows a mismatch: case, images, scores, environment, and how to replay it.

    Read it elsewhere with: harness import FILE.bundle.zip
    """
    from harness.report.export_bundle import find_run, write_bundle
    from harness.report.formatting import slug

    target = out or Path(f"{slug(case, variant)}.bundle.zip")
    typer.echo(write_bundle(run or find_run(case), case, variant=variant, out=target, lora=with_lora))

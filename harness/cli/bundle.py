"""``harness bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.command import command, option, output_file, path, say


@command()
@click.argument("case", metavar="CASE", help="Id of the case.")
@option("--run", type=path, help="Run folder. Default: the newest under reports/ that has the case.")
@option("--variant", default="reference", help="Which of the case's rows.")
@option("--out", type=output_file, help="The file to write. Default: <case>.bundle.zip.")
@option(
    "--with-lora", metavar="FILE", type=path, help="Include the LoRA; otherwise only its hash goes along."
)
def bundle(case: str, run: Path | None, variant: str, out: Path | None, with_lora: Path | None) -> None:
    """Write one zip that shows a mismatch: case, images, scores, environment, and how to replay it.

    Read it elsewhere with: harness import FILE.bundle.zip
    """
    from harness.report.export_bundle import find_run, write_bundle
    from harness.report.formatting import slug

    target = out or Path(f"{slug(case, variant)}.bundle.zip")
    say(write_bundle(run or find_run(case), case, variant=variant, out=target, lora=with_lora))

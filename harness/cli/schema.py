"""``harness schema``."""

from __future__ import annotations

import click

from harness.cli.command import command


@command()
def schema() -> None:
    """Print the JSON Schema of case files: every key and what it may be.

    Imported case files name it for editors where it lies in the folder above theirs.

    Example: harness schema > cases/case.schema.json
    """
    from harness.schema.case import case_schema

    click.echo(case_schema(), nl=False)

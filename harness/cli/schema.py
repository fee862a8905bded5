"""``harness schema``."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON Schema of case files (cases/case.schema.json)."""
    from harness.schema.case import case_schema

    typer.echo(case_schema(), nl=False)

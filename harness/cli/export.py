"""``harness export``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.command import choice, command, option, path, refuse_unwritable, say
from harness.comparison.exports.kinds import ExportKind


@command()
@click.argument("kind", metavar="comfy|diffusers|request", type=choice(ExportKind), help="What to write.")
@click.argument("case", metavar="CASE", type=path, help="One case file.")
@option("--out", type=path, help="Folder (comfy) or file. Default: named after the case, here.")
def export(kind: ExportKind, case: Path, out: Path | None) -> None:
    """Write a case for another tool: a ComfyUI workflow, a diffusers script, or a request to the server.

    comfy writes a folder: the workflow for the editor and for the API, the node that repairs FlexTools' blank
    conditions, and what will still differ.
    """
    from harness.comparison.exports.export import export_case
    from harness.schema.case import load_case

    loaded = load_case(case)
    name = loaded.id.replace("/", "_")
    ends = {"comfy": "_comfy", "diffusers": ".py", "request": ".request.json"}
    target = out or Path(f"{name}{ends[kind]}")
    refuse_unwritable(target, "--out", folder=kind == "comfy")
    for written in export_case(loaded, kind, target):
        say(written)

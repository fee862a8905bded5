"""``harness diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    BaseOption,
    Device,
    DeviceOption,
    DtypeOption,
    EngineMode,
    EngineOption,
    LpipsWeights,
    PipelineOption,
    TrustOption,
    run_options,
)

if TYPE_CHECKING:
    from harness.diagnosis.diagnose import Diagnosis
    from harness.schema.result import Finding

BudgetOption = Annotated[float, typer.Option(min=2, help="Renders of the case's own length to spend.")]


def diagnose(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="One case file.")],
    static: Annotated[bool, typer.Option("--static", help="Only what needs no model.")] = False,
    budget: BudgetOption = 120,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here as JSON.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Write the runnable code here.")] = None,
    device: DeviceOption = Device.AUTO,
    pipeline: PipelineOption = None,
    base: BaseOption = None,
    trust_remote_code: TrustOption = False,
    dtype: DtypeOption = None,
    engine: EngineOption = EngineMode.AUTO,
    lpips_weights: LpipsWeights = None,
) -> None:
    """Name the setting that explains a preview's drift, and how to get the preview back.

    Exit code: 0 explained (or only static findings were asked for), 1 nothing explains it, 2 bad input,
    3 a render failed.
    """
    import json

    from harness._util.atomic_files import write_text
    from harness.judging.findings import static_findings
    from harness.schema.case import load_case

    loaded = load_case(case)
    if static:
        findings = static_findings(loaded)
        show_findings(findings)
        if json_file is not None:
            body = {"case": loaded.id, "findings": [vars(finding) for finding in findings]}
            write_text(json_file, json.dumps(body, indent=2) + "\n")
        return
    from harness.diagnosis.diagnose import diagnose as find

    options = run_options(device, pipeline, base, trust_remote_code, dtype=dtype, engine=engine)
    found = find(loaded, options=options, budget=budget, lpips_weights=lpips_weights, tell=typer.echo)
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_json(), indent=2) + "\n")
    if recipe is not None:
        write_text(recipe, found.recipe)
    show(found)
    raise typer.Exit(0 if found.explained else 1)


def show_findings(findings: list[Finding]) -> None:
    """Print findings, one line each and what to do below it."""
    for finding in findings:
        typer.echo(f"{finding.severity:>8}  {finding.id}: {finding.message} [{finding.where}]")
        if finding.fix:
            typer.echo(f"          → {finding.fix}")


def show(found: Diagnosis) -> None:
    """Print a diagnosis: findings, composition, causes, cost and recipe."""
    from harness.diagnosis.sentences import sentences

    show_findings(found.findings)
    typer.echo("")
    for sentence in sentences(found):
        typer.echo(sentence)
    typer.echo(f"\nrecipe:\n\n{found.recipe}")

"""``harness fix``."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.diagnose import BudgetOption
from harness.cli.options import (
    BaseOption,
    CasePaths,
    Device,
    DeviceOption,
    PipelineOption,
    TrustOption,
    run_options,
)


def fix(
    cases: CasePaths,
    budget: BudgetOption = 120,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    device: DeviceOption = Device.AUTO,
    pipeline: PipelineOption = None,
    base: BaseOption = None,
    trust_remote_code: TrustOption = False,
) -> None:
    """Diagnose cases and write what explains their previews into the case files, with the reason.

    Exit code: 0 every case is explained, 1 some are not, 2 bad input, 3 a render failed.
    """
    from harness.diagnosis.fix import fix_case
    from harness.schema.case import load_cases

    options = run_options(device, pipeline, base, trust_remote_code)
    unexplained = 0
    for case in load_cases(cases):
        if case.incomparable is not None:
            typer.echo(f"{case.id}: passed over: {case.incomparable}")
            continue
        fixed = fix_case(case, options=options, budget=budget, write=not dry_run)
        unexplained += not fixed.explained
        typer.echo(f"{case.id}: {fixed.summary}")
    raise typer.Exit(1 if unexplained else 0)

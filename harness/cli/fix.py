"""``harness fix``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.command import command, option, say
from harness.cli.options import BUDGET, CASES, RENDERING, run_options

if TYPE_CHECKING:
    from harness.runs.plan import RunOptions


@command()
@CASES
@BUDGET
@option("--dry-run", is_flag=True, help="Say what would change; write nothing.")
@run_options(*RENDERING)
def fix(cases: tuple[Path, ...], budget: float, dry_run: bool, options: RunOptions) -> None:
    """Diagnose cases and write what explains their previews into the case files, with the reason.

    A file is written anew: comments in it are lost.

    Exit code: 0 every case is explained, 1 some are not or cannot be re-run, 2 bad input, 3 a render failed.
    """
    from harness.diagnosis.fix import fix_case
    from harness.schema.case import load_case, load_cases

    unexplained = 0
    for listed in load_cases(cases):
        assert listed.file is not None
        case = load_case(listed.file)  # which may have been edited while the others were diagnosed
        if case.incomparable is not None and case.lora is None:
            say(f"{case.id}: passed over: {case.incomparable}")
            unexplained += 1
            continue
        fixed = fix_case(case, options=options, budget=budget, write=not dry_run)
        unexplained += not fixed.explained
        say(f"{case.id}: {fixed.summary}")
    sys.exit(1 if unexplained else 0)

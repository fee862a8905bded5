"""``harness run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.command import command, option, output_folder, path
from harness.cli.options import MANY_RENDERS, RENDERING, run_options, selected_cases, tolerance

if TYPE_CHECKING:
    from harness.runs.plan import RunOptions
    from harness.schema.case import Case


@command()
@selected_cases
@option("--out", type=output_folder, help="Run folder. Default: reports/<date>_<time>.")
@option(
    "--baselines",
    type=path,
    envvar="HARNESS_BASELINES",
    help="Accepted results to judge against too, as pytest does. Default: the preview alone.",
)
@option(
    "--neighbours", is_flag=True,
    help="Render previews without their checkpoint with the saved ones before and after it.",
)  # fmt: skip
@tolerance
@run_options(*RENDERING, *MANY_RENDERS)
def run(cases: list[Case], out: Path | None, neighbours: bool, options: RunOptions) -> None:
    """Re-render cases through the reference pipeline, score and judge them, and build the report.

    Exit code: 0 all match or are accepted as they are, 1 some drift, alone or as a whole job, or cannot be
    compared, 2 bad input, 3 a render failed.
    Repeating a killed command with its --out goes on where it stopped.

    \b
    Example: harness run cases/my_lora --only '*/000000250_*' --out reports/step250
    """
    from harness.cli.show import finish, rendered
    from harness.runs.neighbours import note_neighbours, plan_neighbours
    from harness.runs.plan import plan
    from harness.runs.run import run_cases

    planner = plan_neighbours if neighbours else plan
    result = rendered(out, "", lambda **place: run_cases(cases, options=options, planner=planner, **place))
    finish(note_neighbours(result.folder, options.lpips_weights) if neighbours else result, options.copy_to)

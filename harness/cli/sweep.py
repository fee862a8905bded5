"""``harness sweep``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.command import command, option, output_folder, path, say
from harness.cli.options import MANY_RENDERS, RENDERING, run_options, selected_cases

if TYPE_CHECKING:
    from harness.runs.plan import RunOptions
    from harness.schema.case import Case


def _list_axes(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """Print the axes at once: nothing else of the command line is asked for then."""
    if not wanted:
        return
    from harness.sweeps.axes import AXES

    for name, axis in AXES.items():
        say(f"{name:<20} {axis.explanation}")
    context.exit()


@command()
@selected_cases
@option("--out", type=output_folder, help="Run folder. Default: reports/sweep-<date>_<time>.")
@option("--axis", metavar="NAME=V1,V2", multiple=True, help="Values of one axis; several axes are combined.")
@option("--grid", metavar="FILE.yaml", type=path, help="A grid file.")
@option("--preset", help="shift, scheduler, numerics or all.")
@option(
    "--list-axes", is_flag=True, is_eager=True, expose_value=False, callback=_list_axes,
    help="Print the axes, then stop.",
)  # fmt: skip
@run_options(*RENDERING, *MANY_RENDERS)
def sweep(
    cases: list[Case],
    out: Path | None,
    axis: tuple[str, ...],
    grid: Path | None,
    preset: str | None,
    options: RunOptions,
) -> None:
    """Render cases under variants of their settings, score each against the preview, build the report.

    Exit code: 0 the sweep is complete, 2 bad input, 3 a render failed.
    Repeating a killed command with its --out goes on where it stopped.

    \b
    Example: harness sweep cases/my_lora/000000250_3.case.yaml --axis shift=1,3,7 --out reports/shift
    """
    from harness.cli.show import rendered, summarise
    from harness.sweeps import grid as grids
    from harness.sweeps.sweep import sweep_cases

    variants = [
        *(grids.preset(preset) if preset else []),
        *(grids.read_grid(grid) if grid else []),
        *(grids.product([grids.parse_axis(text) for text in axis]) if axis else []),
    ]
    result = rendered(out, "sweep-", lambda **place: sweep_cases(cases, variants, options=options, **place))
    summarise(result, options.copy_to)
    sys.exit(3 if result.exit_code == 3 else 0)

"""``harness sweep``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    BaseOption,
    CasePaths,
    CopyTo,
    Device,
    DeviceOption,
    DtypeOption,
    EngineMode,
    EngineOption,
    FreshOption,
    GpusOption,
    Limit,
    LpipsWeights,
    OffloadMode,
    OffloadOption,
    Only,
    PipelineOption,
    RayOption,
    RayWorkers,
    ScoreWorkers,
    TrustOption,
    run_options,
)


def _list_axes(wanted: bool) -> None:
    """Print the axes at once: nothing else of the command line is asked for then."""
    from harness.sweeps.axes import AXES

    if wanted:
        for name, axis in AXES.items():
            typer.echo(f"{name:<20} {axis.explanation}")
        raise typer.Exit


def sweep(
    cases: CasePaths,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Default: reports/sweep-<date>_<time>.")
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2", help="Values of one axis; several axes are combined."),
    ] = None,
    grid: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="A grid file.")] = None,
    preset: Annotated[str | None, typer.Option(help="shift, scheduler, numerics or all.")] = None,
    copy_to: CopyTo = None,
    only: Only = None,
    limit: Limit = None,
    list_axes: Annotated[
        bool,
        typer.Option("--list-axes", is_eager=True, callback=_list_axes, help="Print the axes, then stop."),
    ] = False,
    device: DeviceOption = Device.AUTO,
    pipeline: PipelineOption = None,
    base: BaseOption = None,
    trust_remote_code: TrustOption = False,
    dtype: DtypeOption = None,
    offload: OffloadOption = OffloadMode.AUTO,
    engine: EngineOption = EngineMode.AUTO,
    lpips_weights: LpipsWeights = None,
    gpus: GpusOption = None,
    ray: RayOption = None,
    ray_workers: RayWorkers = None,
    fresh: FreshOption = False,
    score_workers: ScoreWorkers = None,
) -> None:
    """Render cases under variants of their settings, score each against the preview, build the report.

    Exit code: 0 the sweep is complete, 2 bad input, 3 a render failed.
    Repeating a killed command with its --out goes on where it stopped.

    Example: harness sweep cases/my_lora/000000250_3.case.yaml --axis shift=1,3,7 --out reports/shift
    """
    from rich.console import Console

    from harness.cli.show import LiveProgress, summarise
    from harness.errors import CopyError
    from harness.runs.new_folder import fresh_folder
    from harness.runs.plan import select
    from harness.runs.results import load_run
    from harness.schema.case import load_cases
    from harness.sweeps.grid import parse_axis, product, read_grid
    from harness.sweeps.grid import preset as preset_variants
    from harness.sweeps.sweep import sweep_cases

    variants = [
        *(preset_variants(preset) if preset else []),
        *(read_grid(grid) if grid else []),
        *(product([parse_axis(text) for text in axis]) if axis else []),
    ]
    options = run_options(
        device,
        pipeline,
        base,
        trust_remote_code,
        dtype=dtype,
        offload=offload,
        lpips_weights=lpips_weights,
        engine=engine,
        gpus=gpus,
        ray=ray,
        ray_workers=ray_workers,
        fresh=fresh,
        score_workers=score_workers,
        copy_to=copy_to,
    )
    chosen = select(load_cases(cases), only, limit)
    place = nullcontext(out) if out else fresh_folder(Path("reports"), "sweep-")
    with place as folder, LiveProgress(Console()) as progress:
        try:
            result = sweep_cases(chosen, variants, out=folder, options=options, progress=progress)
        except CopyError:  # sent once more with the report, which says what is wrong
            result = load_run(folder)
    summarise(result, copy_to)
    raise typer.Exit(3 if result.exit_code == 3 else 0)

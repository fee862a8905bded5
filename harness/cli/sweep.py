"""``harness sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    BaseOption,
    Device,
    DeviceOption,
    DtypeOption,
    LpipsWeights,
    OffloadMode,
    OffloadOption,
    PipelineOption,
    TrustOption,
)


def sweep(
    cases: Annotated[list[Path], typer.Argument(help="Case files, or folders that hold some.")],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2", help="Values of one axis; several axes are combined."),
    ] = None,
    grid: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="A grid file.")] = None,
    preset: Annotated[str | None, typer.Option(help="shift, scheduler, numerics or all.")] = None,
    list_axes: Annotated[bool, typer.Option("--list-axes", help="Print the axes, then stop.")] = False,
    device: DeviceOption = Device.AUTO,
    pipeline: PipelineOption = None,
    base: BaseOption = None,
    trust_remote_code: TrustOption = False,
    dtype: DtypeOption = None,
    offload: OffloadOption = OffloadMode.AUTO,
    only: Annotated[str | None, typer.Option(metavar="GLOB", help="Only cases whose id matches.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many cases.")] = None,
    lpips_weights: LpipsWeights = None,
) -> None:
    """Render cases under variants of their settings, score each against the preview, build the report.

    Exit code: 0 the sweep is complete, 2 bad input, 3 a render failed.
    Repeating a killed command goes on where it stopped.
    """
    from harness.variants.axes import AXES

    if list_axes:
        for name, each in AXES.items():
            typer.echo(f"{name:<20} {each.explanation}")
        return
    from rich.console import Console

    from harness.case import Base, load_cases
    from harness.cli.show import LiveProgress, summarise
    from harness.runs.plan import RunOptions, select
    from harness.variants.grid import parse_axis, product, read_grid
    from harness.variants.grid import preset as preset_variants
    from harness.variants.sweep import sweep_cases

    variants = [
        *(preset_variants(preset) if preset else []),
        *(read_grid(grid) if grid else []),
        *(product([parse_axis(text) for text in axis]) if axis else []),
    ]
    options = RunOptions(
        device=device.value,
        pipeline=pipeline.value if pipeline else None,
        base=Base.parse(base) if base else None,
        dtype=dtype.value if dtype else None,
        offload=offload.value,
        trust_remote_code=trust_remote_code,
        lpips_weights=lpips_weights,
    )
    chosen = select(load_cases(cases), only, limit)
    with LiveProgress(Console()) as progress:
        result = sweep_cases(chosen, variants, out=out, options=options, progress=progress)
    summarise(result)
    raise typer.Exit(3 if result.exit_code == 3 else 0)

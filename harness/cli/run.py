"""``harness run``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    BaseOption,
    Device,
    DeviceOption,
    DtypeOption,
    LpipsMax,
    LpipsWeights,
    OffloadMode,
    OffloadOption,
    PipelineOption,
    PsnrMin,
    SsimMin,
    TrustOption,
    tolerance_from,
)


def run(
    cases: Annotated[list[Path], typer.Argument(help="Case files, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: reports/<date>_<time>.")] = None,
    device: DeviceOption = Device.AUTO,
    pipeline: PipelineOption = None,
    base: BaseOption = None,
    trust_remote_code: TrustOption = False,
    dtype: DtypeOption = None,
    offload: OffloadOption = OffloadMode.AUTO,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many cases.")] = None,
    only: Annotated[str | None, typer.Option(metavar="GLOB", help="Only cases whose id matches.")] = None,
    ssim_min: SsimMin = None,
    lpips_max: LpipsMax = None,
    psnr_min: PsnrMin = None,
    lpips_weights: LpipsWeights = None,
) -> None:
    """Re-render cases through the reference pipeline, score and judge them, and build the report.

    Exit code: 0 all match, 1 some drift or cannot be compared, 2 bad input, 3 a render failed.
    Repeating a killed command with its --out goes on where it stopped.
    """
    from rich.console import Console

    from harness.case import Base, load_cases
    from harness.cli.show import LiveProgress, finish
    from harness.runs.execute import run_cases
    from harness.runs.fresh import fresh_folder
    from harness.runs.plan import RunOptions, select

    options = RunOptions(
        device=device.value,
        pipeline=pipeline.value if pipeline else None,
        base=Base.parse(base) if base else None,
        dtype=dtype.value if dtype else None,
        offload=offload.value,
        trust_remote_code=trust_remote_code,
        tolerance=tolerance_from(ssim_min, lpips_max, psnr_min),
        lpips_weights=lpips_weights,
    )
    chosen = select(load_cases(cases), only, limit)
    place = nullcontext(out) if out else fresh_folder(Path("reports"))
    with place as folder, LiveProgress(Console()) as progress:
        result = run_cases(chosen, out=folder, options=options, progress=progress)
    finish(result)

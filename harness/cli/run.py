"""``harness run``."""

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
    LpipsMax,
    LpipsWeights,
    OffloadMode,
    OffloadOption,
    Only,
    PipelineOption,
    PsnrMin,
    RayOption,
    RayWorkers,
    ScoreWorkers,
    SsimMin,
    ToleranceOption,
    TrustOption,
    run_options,
    tolerance_from,
)


def run(
    cases: CasePaths,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: reports/<date>_<time>.")] = None,
    copy_to: CopyTo = None,
    only: Only = None,
    limit: Limit = None,
    baselines: Annotated[
        Path | None,
        typer.Option(
            envvar="HARNESS_BASELINES",
            help="Accepted results to judge against too, as pytest does. Default: the preview alone.",
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    pipeline: PipelineOption = None,
    base: BaseOption = None,
    trust_remote_code: TrustOption = False,
    dtype: DtypeOption = None,
    offload: OffloadOption = OffloadMode.AUTO,
    engine: EngineOption = EngineMode.AUTO,
    ssim_min: SsimMin = None,
    lpips_max: LpipsMax = None,
    psnr_min: PsnrMin = None,
    tolerance: ToleranceOption = None,
    lpips_weights: LpipsWeights = None,
    gpus: GpusOption = None,
    ray: RayOption = None,
    ray_workers: RayWorkers = None,
    fresh: FreshOption = False,
    score_workers: ScoreWorkers = None,
) -> None:
    """Re-render cases through the reference pipeline, score and judge them, and build the report.

    Exit code: 0 all match or are accepted as they are, 1 some drift or cannot be compared, 2 bad input,
    3 a render failed.
    Repeating a killed command with its --out goes on where it stopped.

    Example: harness run cases/my_lora --only '*/000000250_*' --out reports/step250
    """
    from rich.console import Console

    from harness.cli.show import LiveProgress, finish
    from harness.errors import CopyError
    from harness.runs.new_folder import fresh_folder
    from harness.runs.plan import select
    from harness.runs.results import load_run
    from harness.runs.run import run_cases
    from harness.schema.case import load_cases

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
        tolerance=tolerance_from(ssim_min, lpips_max, psnr_min, tolerance),
        baselines=baselines,
    )
    chosen = select(load_cases(cases), only, limit)
    place = nullcontext(out) if out else fresh_folder(Path("reports"))
    with place as folder, LiveProgress(Console()) as progress:
        try:
            result = run_cases(chosen, out=folder, options=options, progress=progress)
        except CopyError:  # sent once more with the report, which says what is wrong
            result = load_run(folder)
    finish(result, copy_to)

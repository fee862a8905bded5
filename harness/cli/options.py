"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.judging.tolerance import Source
    from harness.runs.plan import RunOptions
    from harness.schema.case import Tolerance

RENDERING, LIMITS = "What to render with", "Limits of a match (default: the case's own, else the harness's)"
"""Headings of the shared options on help pages."""


class Device(StrEnum):
    """Where to render."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Pipeline(StrEnum):
    """Whose pipeline code to run."""

    HUB = "hub"
    BUILTIN = "builtin"


class OffloadMode(StrEnum):
    """Where weights wait while they are not in use."""

    AUTO = "auto"
    NONE = "none"
    MODEL = "model"
    SEQUENTIAL = "sequential"


class EngineMode(StrEnum):
    """How the transformer is called."""

    AUTO = "auto"
    EAGER = "eager"
    EXACT = "exact"


class Precision(StrEnum):
    """Floating-point type of weights and latents."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


BaseOption = Annotated[
    str | None,
    typer.Option(
        "--base",
        envvar="HARNESS_BASE",
        metavar="REPO_OR_DIR",
        help="Base checkpoint: OWNER/NAME, OWNER/NAME@COMMIT, a folder in the hub's layout, or "
        "embedded:NAME. Default: the job's or the case's own.",
        rich_help_panel=RENDERING,
    ),
]
DeviceOption = Annotated[
    Device,
    typer.Option(envvar="HARNESS_DEVICE", help="auto: CUDA where there is one.", rich_help_panel=RENDERING),
]
PipelineOption = Annotated[
    Pipeline | None,
    typer.Option(
        envvar="HARNESS_PIPELINE",
        help="Pipeline code: the checkpoint's own (hub) or ours (builtin). "
        "Default: the case's; else hub for a repository, builtin for a folder.",
        rich_help_panel=RENDERING,
    ),
]
DtypeOption = Annotated[
    Precision | None,
    typer.Option(
        envvar="HARNESS_DTYPE",
        help="Default: on CUDA the reference's rule (bf16), on the CPU the case's training dtype.",
        rich_help_panel=RENDERING,
    ),
]
OffloadOption = Annotated[
    OffloadMode,
    typer.Option(
        envvar="HARNESS_OFFLOAD",
        help="Offload to main memory; auto: only where the GPU is too small.",
        rich_help_panel=RENDERING,
    ),
]
EngineOption = Annotated[
    EngineMode,
    typer.Option(
        envvar="HARNESS_ENGINE",
        help="exact: compiled, where that is proved to give eager's bits, else eager. "
        "auto: exact on CUDA, eager on the CPU.",
        rich_help_panel=RENDERING,
    ),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        envvar="HARNESS_GPUS",
        metavar="all|N",
        help="Render on several GPUs of this host, a process each.",
        rich_help_panel=RENDERING,
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        envvar="HARNESS_RAY",
        metavar="ADDRESS",
        help="Render on a Ray cluster: auto, ray://HOST:PORT, or local. Needs the extra 'ray'.",
        rich_help_panel=RENDERING,
    ),
]
RayWorkers = Annotated[
    int | None,
    typer.Option(min=1, help="Ray actors. Default: one for each GPU.", rich_help_panel=RENDERING),
]
CopyTo = Annotated[
    str | None,
    typer.Option(
        "--copy-to",
        envvar="HARNESS_COPY_TO",
        metavar="URL",
        help="Copy the run folder there while the run goes on, and begin with what is there already: "
        "any fsspec URL, e.g. s3://BUCKET/NAME.",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        envvar="HARNESS_TRUST_REMOTE_CODE",
        help="Let the checkpoint's own pipeline.py run. Read it first.",
        rich_help_panel=RENDERING,
    ),
]
FreshOption = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Make every render again, also those that this run or one beside it holds.",
        rich_help_panel=RENDERING,
    ),
]
ScoreWorkers = Annotated[
    int | None,
    typer.Option(
        envvar="HARNESS_SCORE_WORKERS",
        min=0,
        help="Processes that score while the next image renders. "
        "At most one for each core; default: up to 4 for each GPU, none on the CPU.",
        rich_help_panel=RENDERING,
    ),
]
LpipsWeights = Annotated[
    Path | None,
    typer.Option(
        envvar="HARNESS_LPIPS_WEIGHTS", help="AlexNet layers other than the shipped ones (safetensors)."
    ),
]
SsimMin = Annotated[
    float | None,
    typer.Option(
        envvar="HARNESS_SSIM_MIN", min=-1, max=1, help="Least SSIM, -1 to 1.", rich_help_panel=LIMITS
    ),
]
LpipsMax = Annotated[
    float | None,
    typer.Option(envvar="HARNESS_LPIPS_MAX", min=0, help="Largest LPIPS, 0 and up.", rich_help_panel=LIMITS),
]
PsnrMin = Annotated[
    float | None,
    typer.Option(envvar="HARNESS_PSNR_MIN", help="Least PSNR, dB.", rich_help_panel=LIMITS),
]
ToleranceOption = Annotated[
    str | None,
    typer.Option(
        "--tolerance",
        envvar="HARNESS_TOLERANCE",
        metavar="LIMITS",
        help="A file of harness calibrate, or all limits at once: ssim=0.98,lpips=0.03,psnr=38.",
        rich_help_panel=LIMITS,
    ),
]
CasePaths = Annotated[
    list[Path], typer.Argument(metavar="CASES", help="Case files, or folders that hold some.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, e.g. reports/NAME.")]
Only = Annotated[str | None, typer.Option(metavar="GLOB", help="Only cases whose id matches.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many cases.")]
Baselines = Annotated[Path, typer.Option(envvar="HARNESS_BASELINES", help="Folder of baselines.")]


def run_options(
    device: Device,
    pipeline: Pipeline | None,
    base: str | None,
    trust_remote_code: bool,
    *,
    dtype: Precision | None = None,
    offload: OffloadMode = OffloadMode.AUTO,
    tolerance: Tolerance | Source | None = None,
    baselines: Path | None = None,
    lpips_weights: Path | None = None,
    engine: EngineMode = EngineMode.AUTO,
    fresh: bool = False,
    score_workers: int | None = 0,
    gpus: str | None = None,
    ray: str | None = None,
    ray_workers: int | None = None,
    copy_to: str | None = None,
) -> RunOptions:
    """Return what the command line says as the options of a run.

    Args:
        score_workers: None takes the device's own number.
        gpus: ``all``, or how many; None renders in this process.
        copy_to: an fsspec URL.

    Raises:
        DeviceError: GPUs were asked for and are not there.
        CaseError: ``base`` is neither a folder nor a repository.
    """
    from harness.runs.gpus import choose_gpus
    from harness.runs.plan import RunOptions
    from harness.schema.case import Base

    names = choose_gpus(gpus) if gpus else ()
    return RunOptions(
        device=device.value,
        pipeline=pipeline.value if pipeline else None,
        base=Base.parse(base) if base else None,
        dtype=dtype.value if dtype else None,
        offload=offload.value,
        engine=engine.value,
        trust_remote_code=trust_remote_code,
        tolerance=tolerance,
        baselines=baselines,
        lpips_weights=lpips_weights,
        fresh=fresh,
        score_workers=score_workers,
        gpus=names,
        ray=ray,
        ray_workers=ray_workers,
        copy_to=copy_to,
    )


def tolerance_from(
    ssim_min: float | None, lpips_max: float | None, psnr_min: float | None, tolerance: str | None
) -> Tolerance | Source | None:
    """Return the tolerance given on the command line, gaps filled with the default; None if none is given.

    Raises:
        HarnessError: not limits, not a calibration, or both forms at once.
    """
    if tolerance is not None:
        return _tolerance_alone(tolerance, ssim_min, lpips_max, psnr_min)
    if ssim_min is None and lpips_max is None and psnr_min is None:
        return None
    from pydantic import ValidationError

    from harness._util.validation import first_problem
    from harness.errors import HarnessError
    from harness.judging.verdict import DEFAULT_TOLERANCE
    from harness.schema.case import Tolerance

    try:
        return Tolerance(
            ssim_min=DEFAULT_TOLERANCE.ssim_min if ssim_min is None else ssim_min,
            lpips_max=DEFAULT_TOLERANCE.lpips_max if lpips_max is None else lpips_max,
            psnr_min=DEFAULT_TOLERANCE.psnr_min if psnr_min is None else psnr_min,
            source="command line",
        )
    except ValidationError as error:
        field, found, fix = first_problem(error, Tolerance)
        raise HarnessError(found, file="command line", field=field, fix=fix) from error


def _tolerance_alone(text: str, *single: float | None) -> Tolerance | Source | None:
    from harness.errors import HarnessError
    from harness.judging.tolerance import limits_from

    if any(limit is not None for limit in single):
        raise HarnessError(
            "stands beside single limits", field="--tolerance", fix="give one of the two: they would disagree"
        )
    return limits_from(text, Path(), "--tolerance")

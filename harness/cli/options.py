"""Options that several commands share, each written once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.command import (
    NO_SERVE,
    Decorator,
    FiniteRange,
    Function,
    choice,
    logger,
    option,
    output_folder,
    path,
    with_options,
)
from harness.schema.render import Device, Dtype, EngineName, Offload, PipelineCode

if TYPE_CHECKING:
    from harness.judging.tolerance import Source
    from harness.metrics.scores import MetricName
    from harness.schema.base import Base
    from harness.schema.metric_limits import Tolerance

rendering = functools.partial(option, heading="What to render with")
server = functools.partial(option, heading="Another system under test")
limit = functools.partial(option, heading="Limits of a match (default: the case's own, else the harness's)")

RUN = click.argument("run", metavar="RUN", type=path, help="Run folder, e.g. reports/NAME.")
CASES = click.argument(
    "cases", metavar="CASES...", nargs=-1, required=True, type=path,
    help="Case files, or folders that hold some.",
)  # fmt: skip
BASELINES = option(
    "--baselines",
    type=output_folder,
    default="baselines",
    envvar="HARNESS_BASELINES",
    help="Folder of baselines.",
)
BUDGET = option(
    "--budget", metavar="N", type=FiniteRange(min=2), default=120,
    help="Renders of the case's own length to spend.",
)  # fmt: skip
LPIPS_WEIGHTS = option(
    "--lpips-weights", type=path, envvar="HARNESS_LPIPS_WEIGHTS",
    help="AlexNet layers other than the shipped ones (safetensors).",
)  # fmt: skip


def _metrics(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> tuple[MetricName, ...]:
    if not text:
        return ()
    from harness.schema.metric_limits import metrics_from

    return metrics_from(text, "--metrics")


METRICS = option(
    "--metrics", metavar="NAMES", callback=_metrics, envvar="HARNESS_METRICS",
    help="Measure flip, ssimulacra2, jod (ColorVideoVDP) or all of them too, separated by commas. Needs the "
    "extra 'metrics'. Default: those that a limit is set on.",
)  # fmt: skip


def _base(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Base | None:
    from harness.schema.base import Base

    return Base.parse(text) if text is not None else None


def _gpus(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    from harness.runs.gpus import choose_gpus

    return choose_gpus(text) if text else ()


BASE = rendering(
    "--base", metavar="REPO_OR_DIR", callback=_base, envvar="HARNESS_BASE",
    help="Base checkpoint: OWNER/NAME, OWNER/NAME@COMMIT, a folder in the hub's layout, or embedded:NAME. "
    "Default: the job's or the case's own.",
)  # fmt: skip

RENDERING = (
    rendering("--device", type=choice(Device), default="auto", envvar="HARNESS_DEVICE",
              help="auto: CUDA where there is one."),
    rendering("--pipeline", type=choice(PipelineCode), envvar="HARNESS_PIPELINE",
              help="Pipeline code: the checkpoint's own (hub) or ours (builtin). "
              "Default: the case's; else hub for a repository, builtin for a folder."),
    BASE,
    rendering("--trust-remote-code", is_flag=True, envvar="HARNESS_TRUST_REMOTE_CODE",
              help="Let the checkpoint's own pipeline.py run. Read it first."),
    rendering("--dtype", type=choice(Dtype), envvar="HARNESS_DTYPE",
              help="Default: on CUDA the reference's rule (bf16), on the CPU the case's training dtype."),
    rendering("--offload", type=choice(Offload), default="auto", envvar="HARNESS_OFFLOAD",
              help="Offload to main memory; auto: only where the GPU is too small."),
    rendering("--engine", type=choice(EngineName), default="auto", envvar="HARNESS_ENGINE",
              help="exact: compiled, where that is proved to give eager's bits, else eager. "
              "auto: exact on CUDA where the renders ahead pay for it, else eager; on a CPU without "
              "bf16 kernels, products of bf16 in fp32."),
    NO_SERVE,
    LPIPS_WEIGHTS,
    METRICS,
)  # fmt: skip
"""For every command that renders."""

SYSTEMS = (
    server("--server", metavar="URL", envvar="HARNESS_SERVER",
           help="Render by a reference server: http://HOST:PORT."),
    server("--server-root", metavar="DIR", type=path, envvar="HARNESS_SERVER_ROOT",
           help="Where the server's file system is mounted here. Default: the server runs on this machine."),
    server("--server-header", metavar="NAME=VARIABLE", multiple=True,
           help="Send the header NAME with the value of an environment variable."),
    server("--comfy", metavar="URL", envvar="HARNESS_COMFY",
           help="Render by a running ComfyUI: http://HOST:8188."),
    server("--comfy-file", metavar="NAME=FILE", multiple=True,
           help="Give the input NAME of ComfyUI's loaders (unet_name, clip_name2, vae_name, lora_name …) the "
           "file FILE there."),
)  # fmt: skip
"""For commands that can ask another system for an image."""

MANY_RENDERS = (
    option("--copy-to", metavar="URL", envvar="HARNESS_COPY_TO",
           help="Copy the run folder there while the run goes on, and begin with what is there already: "
           "any fsspec URL, e.g. s3://BUCKET/NAME."),
    rendering("--gpus", metavar="all|N", callback=_gpus, envvar="HARNESS_GPUS",
              help="Render on several GPUs of this host, a process each."),
    rendering("--ray", metavar="ADDRESS", envvar="HARNESS_RAY",
              help="Render on a Ray cluster: auto, ray://HOST:PORT, or local. Needs the extra 'ray'."),
    rendering("--ray-workers", metavar="N", type=click.IntRange(min=1),
              help="Ray actors. Default: one for each GPU."),
    *SYSTEMS,
    server("--against-reference", is_flag=True,
           help="Score the server's images against our own renders too: does the server drift?"),
    rendering("--fresh", is_flag=True,
              help="Make every render again, also those that this run or one beside it holds."),
    rendering("--latents/--no-latents", "keep_latents", default=True, show_default=False,
              help="Keep latents beside images, to be compared with those of a baseline. Default: keep."),
    rendering("--score-workers", metavar="N", type=click.IntRange(min=0), envvar="HARNESS_SCORE_WORKERS",
              help="Processes that score while the next image renders. At most one for each core; "
              "default: up to 4 for each GPU, none on the CPU."),
)  # fmt: skip
"""For commands that render many cases into a run folder."""

LIMITS = (
    limit("--ssim-min", metavar="SSIM", type=click.FloatRange(-1, 1), envvar="HARNESS_SSIM_MIN",
          help="Least SSIM, -1 to 1."),
    limit("--lpips-max", metavar="LPIPS", type=click.FloatRange(min=0), envvar="HARNESS_LPIPS_MAX",
          help="Largest LPIPS, 0 and up."),
    limit("--psnr-min", metavar="DB", type=float, envvar="HARNESS_PSNR_MIN", help="Least PSNR, dB."),
    limit("--flip-max", metavar="FLIP", type=click.FloatRange(0, 1), envvar="HARNESS_FLIP_MAX",
          help="Largest FLIP, 0 to 1."),
    limit("--ssimulacra2-min", metavar="SCORE", type=click.FloatRange(max=100),
          envvar="HARNESS_SSIMULACRA2_MIN", help="Least SSIMULACRA2, at most 100."),
    limit("--jod-min", metavar="JOD", type=click.FloatRange(max=10), envvar="HARNESS_JOD_MIN",
          help="Least JOD of ColorVideoVDP, at most 10."),
    limit("--tolerance", metavar="LIMITS", envvar="HARNESS_TOLERANCE",
          help="A file of harness calibrate, or all limits at once: ssim=0.98,lpips=0.03,psnr=38."),
)  # fmt: skip


def run_options(*options: Decorator) -> Decorator:
    """Add ``options``. All options of the command that are named as fields of ``RunOptions`` reach it as one.

    The command takes that object as ``options``.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            import dataclasses

            from harness.runs.plan import RunOptions

            names = {field.name for field in dataclasses.fields(RunOptions)} & given.keys()
            options = RunOptions(**{name: given.pop(name) for name in names})
            logger().debug("options: %s", options)
            function(**given, options=options)

        return with_options(*options)(command)

    return decorate


def selected_cases(function: Function) -> Function:
    """Add CASES, ``--only`` and ``--limit``; the command takes the cases that they select as ``cases``."""

    @functools.wraps(function)
    def command(cases: tuple[Path, ...], only: str | None, limit: int | None, **given: Any) -> None:
        from harness.runs.plan import select
        from harness.schema.case import load_cases

        found = load_cases(cases)
        chosen = select(found, only, limit)
        logger().info("%d of %d cases selected", len(chosen), len(found))
        function(**given, cases=chosen)

    return with_options(
        CASES,
        option("--only", metavar="GLOB", help="Only cases whose id matches."),
        option("--limit", metavar="N", type=click.IntRange(min=1), help="At most this many cases."),
    )(command)


def tolerance(function: Function) -> Function:
    """Add the limits of a match; the command takes them as ``tolerance``, None where none is given."""

    @functools.wraps(function)
    def command(tolerance: str | None, **given: Any) -> None:
        from harness.schema.metric_limits import NAMES

        single = {name: given.pop(field) for name, field in NAMES.items()}
        found = _source(tolerance, {name: value for name, value in single.items() if value is not None})
        function(**given, tolerance=found)

    return with_options(*LIMITS)(command)


def _source(limits: str | None, single: dict[str, float]) -> Tolerance | Source | None:
    """Return the limits that were given either way; what single limits leave out is the harness's default.

    Raises:
        HarnessError: not limits, not a calibration, or both ways at once.
    """
    from harness.errors import HarnessError
    from harness.judging.tolerance import limits_from

    if limits is None:
        return limits_from(
            ",".join(f"{name}={value}" for name, value in single.items()) or None, Path(), "command line"
        )
    if single:
        fix = "give one of the two: they would disagree"
        raise HarnessError("is given beside single limits", field="--tolerance", fix=fix)
    return limits_from(limits, Path(), "--tolerance")

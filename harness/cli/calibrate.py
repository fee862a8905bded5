"""``harness calibrate``."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    BaseOption,
    CasePaths,
    Device,
    DeviceOption,
    DtypeOption,
    EngineMode,
    EngineOption,
    OffloadMode,
    OffloadOption,
    PipelineOption,
    TrustOption,
    run_options,
)

if TYPE_CHECKING:
    from harness.judging.tolerance_file import Environment, Proposal


def calibrate(
    cases: CasePaths,
    out: Annotated[Path, typer.Option(help="Tolerance file to write.")] = Path("tolerance.json"),
    run: Annotated[
        Path | None, typer.Option(help="Run folder. Default: reports/calibration-<date>_<time>.")
    ] = None,
    device: DeviceOption = Device.AUTO,
    pipeline: PipelineOption = None,
    base: BaseOption = None,
    trust_remote_code: TrustOption = False,
    dtype: DtypeOption = None,
    offload: OffloadOption = OffloadMode.AUTO,
    engine: EngineOption = EngineMode.AUTO,
) -> None:
    """Find limits between what equally valid executions change and what wrong settings change.

    Repeating a killed command with its --run goes on where it stopped.
    """
    from rich.console import Console

    from harness._util.redaction import redact
    from harness.calibration.calibrate import calibrate as measure
    from harness.cli.show import LiveProgress
    from harness.runs.new_folder import fresh_folder
    from harness.schema.case import load_cases

    options = run_options(
        device, pipeline, base, trust_remote_code, dtype=dtype, offload=offload, engine=engine
    )
    place = nullcontext(run) if run else fresh_folder(Path("reports"), "calibration-")
    command = redact(shlex.join(["harness", *sys.argv[1:]]))
    with place as folder, LiveProgress(Console(), "--run") as progress:
        made = measure(
            load_cases(cases), out=out, run=folder, options=options, command=command, progress=progress
        )
    for key, found in made.environments.items():
        if found.command == command:
            _print(key, found)
    typer.echo(
        f"written: {out}; use it with harness run --tolerance {out}, or pytest --harness-tolerance={out}"
    )


def _print(key: str, found: Environment) -> None:
    from harness.calibration.limits import noise_spread

    typer.echo(f"{key}, {found.date}")
    for name, proposal in [("all cases", found.all_cases), *found.cases.items()]:
        typer.echo(f"  {name}: {_limits(proposal)}")
    typer.echo(f"  measured on {len(found.evidence)} cases:")
    lost = noise_spread(found.evidence.values())
    typer.echo(
        "    equally valid re-runs of a case differ by at most "
        f"{lost['ssim']:.4f} SSIM, {lost['lpips']:.4f} LPIPS, {lost['psnr']:.1f} dB"
    )
    for kind in ("noise", "signal"):
        by_control: dict[str, list[float]] = {}
        for measured in found.evidence.values():
            for entry in measured:
                if entry.kind == kind:
                    by_control.setdefault(entry.control, []).append(entry.ssim)
        for control, ssims in by_control.items():
            typer.echo(f"    {kind:6} {control:24} SSIM {min(ssims):.4f} to {max(ssims):.4f}")


def _limits(proposal: Proposal) -> str:
    line = f"SSIM ≥ {proposal.ssim_min:g}, LPIPS ≤ {proposal.lpips_max:g}, PSNR ≥ {proposal.psnr_min:g} dB"
    if proposal.overlap:
        line += f"; noise and signal overlap in {', '.join(proposal.overlap)}"
    return line + (f"; not told apart: {', '.join(proposal.undetected)}" if proposal.undetected else "")

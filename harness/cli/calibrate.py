"""``harness calibrate``."""

from __future__ import annotations

import shlex
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.command import command, option, output_file, output_folder, say
from harness.cli.options import CASES, RENDERING, run_options

if TYPE_CHECKING:
    from harness.judging.tolerance_file import Environment, Proposal
    from harness.runs.plan import RunOptions


@command()
@CASES
@option("--out", type=output_file, default="tolerance.json", help="Tolerance file to write.")
@option("--run", type=output_folder, help="Run folder. Default: reports/calibration-<date>_<time>.")
@run_options(*RENDERING)
def calibrate(cases: tuple[Path, ...], out: Path, run: Path | None, options: RunOptions) -> None:
    """Find limits between what equally valid executions change and what wrong settings change.

    Repeating a killed command with its --run goes on where it stopped.
    """
    from harness._util.redaction import redact
    from harness.calibration.calibrate import calibrate as measure
    from harness.cli.progress import LiveProgress
    from harness.cli.show import run_folder
    from harness.errors import RunError
    from harness.schema.case import load_cases

    command_line = redact(shlex.join(["harness", *sys.argv[1:]]))
    with run_folder(run, "calibration-") as folder, LiveProgress("--run") as progress:
        found = load_cases(cases)
        try:
            made = measure(
                found, out=out, run=folder, options=options, command=command_line, progress=progress
            )
        except RunError as error:
            error.field = "--run" if error.field == "--out" else error.field
            raise
    for key, environment in made.environments.items():
        if environment.command == command_line:
            _print(key, environment)
    say(f"written: {out}; use it with harness run --tolerance {out}, or pytest --harness-tolerance={out}")


def _print(key: str, found: Environment) -> None:
    from harness.calibration.limits import noise_range

    say(f"{key}, {found.date}: limits hold on {found.where}")
    for name, proposal in [("all cases", found.all_cases), *found.cases.items()]:
        say(f"  {name}: {_limits(proposal)}")
    say(f"  measured on {len(found.evidence)} cases:")
    lost = noise_range(found.evidence.values())
    say(
        "    equally valid re-runs of a case differ by at most "
        f"{lost['ssim']:.4f} SSIM, {lost['lpips']:.4f} LPIPS, {lost['psnr']:.1f} dB"
    )
    by_control: dict[tuple[str, str], list[float]] = {}
    for entry in chain.from_iterable(found.evidence.values()):
        by_control.setdefault((entry.kind, entry.control), []).append(entry.ssim)
    for (kind, control), ssims in sorted(by_control.items(), key=lambda item: item[0][0]):
        say(f"    {kind:6} {control:24} SSIM {min(ssims):.4f} to {max(ssims):.4f}")


def _limits(proposal: Proposal) -> str:
    from harness.schema.metric_limits import limits_in_words

    line = limits_in_words(proposal.tolerance(source=""))
    if proposal.overlap:
        line += f"; noise and signal overlap in {', '.join(proposal.overlap)}"
    return line + (f"; not told apart: {', '.join(proposal.undetected)}" if proposal.undetected else "")

"""``--tolerance``, or its limits one by one: both reach a command as one tolerance."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.command import Function, option, with_options

if TYPE_CHECKING:
    from harness.judging.tolerance import Source
    from harness.schema.case import Tolerance

limit = functools.partial(option, heading="Limits of a match (default: the case's own, else the harness's)")

LIMITS = (
    limit("--ssim-min", metavar="SSIM", type=click.FloatRange(-1, 1), envvar="HARNESS_SSIM_MIN",
          help="Least SSIM, -1 to 1."),
    limit("--lpips-max", metavar="LPIPS", type=click.FloatRange(min=0), envvar="HARNESS_LPIPS_MAX",
          help="Largest LPIPS, 0 and up."),
    limit("--psnr-min", metavar="DB", type=float, envvar="HARNESS_PSNR_MIN", help="Least PSNR, dB."),
    limit("--tolerance", metavar="LIMITS", envvar="HARNESS_TOLERANCE",
          help="A file of harness calibrate, or all limits at once: ssim=0.98,lpips=0.03,psnr=38."),
)  # fmt: skip


def tolerance(function: Function) -> Function:
    """Add the limits of a match; the command takes them as ``tolerance``, None where none is given."""

    @functools.wraps(function)
    def command(tolerance: str | None, **given: Any) -> None:
        from harness.judging.tolerance import NAMES

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

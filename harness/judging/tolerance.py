"""Which limits apply to a case: command line, case file, ``pyproject.toml``, then the harness's default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import ValidationError

from harness._util.validation import first_problem
from harness.errors import HarnessError
from harness.judging.tolerance_file import ToleranceFile
from harness.judging.verdict import DEFAULT_TOLERANCE
from harness.schema.case import Case
from harness.schema.metric_limits import NAMES, Tolerance


@runtime_checkable
class Source(Protocol):
    """Anything that may know a tolerance for a case."""

    def tolerance(self, case: Case, environment: Mapping[str, Any]) -> Tolerance | None:
        """Return the limits for a case in an environment, or None where this source has none."""


@dataclass(frozen=True)
class Tolerances:
    """What may set a case's limits beside its own file.

    Attributes:
        command_line: what the command line or the caller says; it comes before the case file.
        project: what ``pyproject.toml`` says; it comes after the case file.
    """

    command_line: Tolerance | Source | None = None
    project: Tolerance | Source | None = None

    def of(self, case: Case, environment: Mapping[str, Any]) -> Tolerance:
        """Return the limits of a case in an environment; their ``source`` says where they come from."""
        name = {"source": f"case file: {case.tolerance.source}"} if case.tolerance else {}
        sources = self.command_line, case.tolerance and case.tolerance.model_copy(update=name), self.project
        found = (
            source.tolerance(case, environment) if isinstance(source, Source) else source
            for source in sources
        )  # fmt: skip
        return next((tolerance for tolerance in found if tolerance is not None), DEFAULT_TOLERANCE)


def limits_from(value: str | None, folder: Path, source: str) -> Tolerance | Source | None:
    """Read limits as an option or ``pyproject.toml`` gives them.

    Args:
        value: text like ``ssim=0.98,lpips=0.03,psnr=38``, of which what is left out is the harness's default,
            or the path of a calibration.
        folder: what a relative path starts at.
        source: where the value was given, for the row and for messages.

    Raises:
        HarnessError: neither limits nor a calibration that can be read.
    """
    if value is None:
        return None
    if "=" not in value:
        return ToleranceFile.load(folder / value)
    found: dict[str, Any] = {**DEFAULT_TOLERANCE.model_dump(), "source": source}
    for part in value.split(","):
        name, _, number = part.partition("=")
        try:
            found[NAMES[name.strip()]] = float(number)
        except (KeyError, ValueError):
            raise HarnessError(
                f"{part.strip()!r} is not a limit", field=source, fix="write ssim=0.98,lpips=0.03,psnr=38"
            ) from None
    try:
        return Tolerance(**found)
    except ValidationError as error:
        limit, problem, _ = first_problem(error, Tolerance)
        raise HarnessError(problem, field=f"{source}: {limit}") from None

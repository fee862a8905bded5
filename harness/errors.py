"""The harness's exceptions. Whatever a user can mend is one of these, and is printed as one line.

HarnessError             exit code 2
├── CaseError            a case file
├── JobError             an AI Toolkit job folder
├── RequestError         a request JSON of the reference server
├── CheckpointError      the base model
├── LoraError            a LoRA file
│   └── UnrenderableLoraError  whole, as AI Toolkit saves it, and not for the reference
├── ImageError           a preview or a re-run
├── RunError             a run folder
│   └── CopyError        its copy elsewhere, while the folder itself is whole
├── DeviceError          the device that was asked for
├── ServerError          the server that renders
├── WeightsError         the LPIPS weights
├── BaselineError        a baseline file
├── CalibrationError     a tolerance file
├── BundleError          a mismatch bundle
└── RenderError          exit code 3: the pipeline itself failed
    └── DeviceLostError  the process cannot use its GPU again
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness._util.redaction import printable, redact


class HarnessError(Exception):
    """Bad input, said in one line: file, field, what was found, what to do.

    Args:
        found: what is wrong, with the offending value.
        file: the file or folder that holds it.
        field: the field inside that file, dotted (``settings.width``).
        fix: what the user can do about it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self, found: str, *, file: Path | str | None = None, field: str | None = None, fix: str | None = None
    ) -> None:
        self.found, self.file, self.field, self.fix = found, file, field, fix
        super().__init__(found)

    def __str__(self) -> str:
        where = ": ".join(str(part) for part in (self.file, self.field) if part is not None)
        line = f"{where}: {self.found}" if where else self.found
        if self.fix:
            line = f"{line}; {self.fix}"
        return printable(redact(line))


class CaseError(HarnessError):
    """A case file that cannot be read, or does not say what a case must say."""


class JobError(HarnessError):
    """An AI Toolkit job folder that cannot be imported."""


class RequestError(HarnessError):
    """A request JSON of the reference server that cannot be used as settings."""


class CheckpointError(HarnessError):
    """A base model that is missing, incomplete or not Flex.2-shaped."""


class LoraError(HarnessError):
    """A LoRA file that is missing, unsafe, of another kind, or would load only in part."""


class UnrenderableLoraError(LoraError):
    """A whole LoRA file, as AI Toolkit saves it, that the reference cannot render: NaN weights, a LoKr."""


class ImageError(HarnessError):
    """An image that is missing, truncated or of a kind that AI Toolkit does not write."""


class RunError(HarnessError):
    """A run folder that cannot be written, read or resumed."""


class CopyError(RunError):
    """A copy of a run that is not complete; the run folder itself is."""


class DeviceError(HarnessError):
    """A device that was asked for and is not there."""


class ServerError(HarnessError):
    """A server that cannot be reached, or answers something that cannot be used."""


class WeightsError(HarnessError):
    """LPIPS weights that are missing or are not the expected file."""


class BaselineError(HarnessError):
    """A baseline file that cannot be read or written, or a run that cannot be accepted."""


class CalibrationError(HarnessError):
    """A tolerance file that cannot be read, or cases that cannot be calibrated."""


class BundleError(HarnessError):
    """A bundle that cannot be made or read."""


class RenderError(HarnessError):
    """A render that failed inside the pipeline."""

    exit_code: ClassVar[int] = 3


class DeviceLostError(RenderError):
    """A render after whose failure the process cannot use its GPU again."""

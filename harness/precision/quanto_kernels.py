"""What optimum-quanto compiles, without a word, when a kernel of its own is first called.

It takes a minute or more, once for each version of torch; the build lies in quanto's own folder.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

MARLIN_CAPABILITY = 8
"""From this compute capability on, quanto multiplies 8-bit floats with a kernel of its own."""

_log = logging.getLogger(__name__)


def tell_build(part: nn.Module, bits: int, is_float: bool) -> None:
    """Say once, in one line, that quanto will compile before ``part`` can be used, quantized to ``bits``.

    Args:
        is_float: whether the stored weights are floats, else integers.
    """
    name = _extension_for(next(part.parameters()), bits, is_float)
    if name is not None:
        _tell_once(name)


@cache
def _tell_once(name: str) -> None:
    from optimum.quanto.library.extensions.extension import get_extension, is_extension_available

    if is_extension_available(name):
        line = build_line(name, Path(get_extension(name).build_directory))
        if line is not None:
            _log.warning(line)


def build_line(name: str, folder: Path) -> str | None:
    """Return what to tell before ``name`` is used; None where ``folder`` holds it for this torch."""
    lock = folder / "lock"
    if lock.exists():
        return f"waits until another process has built optimum-quanto's {name}; if none does, delete {lock}"
    version = folder / "pytorch_version.txt"
    built = version.read_text(encoding="utf-8").strip() if version.exists() else None
    if built == torch.__version__ and any(folder.glob(f"{name}.*")):
        return None
    return f"optimum-quanto builds {name} for torch {torch.__version__} now, once: it takes a minute or two"


def _extension_for(weight: torch.Tensor, bits: int, is_float: bool) -> str | None:
    """Return the extension that quanto calls for a weight that it stores in ``bits``; see its ``create``."""
    on_cuda = weight.device.type == "cuda"
    if bits < 8:
        return "quanto_cuda" if on_cuda else "quanto_cpp"
    if not (on_cuda and is_float and weight.dtype in {torch.float16, torch.bfloat16}):
        return None
    major, _ = torch.cuda.get_device_capability(weight.device)
    return "quanto_cuda" if major >= MARLIN_CAPABILITY else None

"""Which quantizers can run here, without loading what they need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from harness.errors import CheckpointError, HarnessError
from harness.schema.quantizers import QUANTIZERS

_MODULES = {"optimum-quanto": "optimum.quanto"}


def missing(name: str) -> str | None:
    """Return why a quantizer cannot run here, or None where it can."""
    package = QUANTIZERS[name].package
    if package is None or _is_installed(_MODULES.get(package, package)):
        return None
    return f"needs {package}, which is not installed"


def require(name: str) -> None:
    """Check that a quantizer can run here.

    Raises:
        HarnessError: it cannot; says the line that installs what is missing.
    """
    if (why := missing(name)) is not None:
        raise HarnessError(f"{name} {why}", field="quantize", fix=f"pip install {QUANTIZERS[name].package}")


def require_package(package: str, base: Path) -> None:
    """Check that what reads a base is installed.

    Raises:
        CheckpointError: it is not; says the line that installs it.
    """
    if not _is_installed(package):
        fix = f"pip install {package}"
        raise CheckpointError(f"needs {package}, which is not installed", file=base, field="--base", fix=fix)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that holds it
        return False

"""Which device computes."""

from __future__ import annotations

from harness.errors import DeviceError


def choose_device(wanted: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DeviceError: CUDA was asked for and torch sees no GPU.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted not in {"cpu", "cuda"}:
        raise DeviceError(f"{wanted!r} is not a device", field="--device", fix="use auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"cuda was asked for, and torch {torch.__version__} sees no GPU",
            field="--device",
            fix="see harness doctor, or use --device cpu",
        )
    return wanted

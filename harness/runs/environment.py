"""The fingerprint of the machine and libraries that a re-run was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

PACKAGES = (
    "accelerate", "diffusers", "lpips", "numpy", "peft", "pillow", "safetensors", "scikit-image",
    "tokenizers", "torch", "transformers",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Return the installed version of every package that can move a score; ``missing`` where absent."""
    return {name: package_version(name) for name in PACKAGES}


def package_version(name: str) -> str:
    """Return the installed version of one package, or ``missing``."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _bf16_unit() -> str:
    """Return what multiplies bf16; each adds in another order."""
    import torch

    from harness.pipeline.bf16_products import has_bf16_kernels

    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    rest = "emulated" if has_bf16_kernels() else "fp32"
    return next((name for name in ("amx_bf16", "avx512_bf16") if known.get(name)), rest)


def environment(device: str) -> dict[str, Any]:
    """Return the fingerprint that every row carries: harness, Python, platform, packages, processor, GPU.

    Args:
        device: ``cpu`` or ``cuda``: which processor the renders ran on.
    """
    import torch

    found: dict[str, Any] = {
        "harness": package_version("flex2-harness"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpu_bf16": _bf16_unit(),
        "threads": torch.get_num_threads(),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    return found

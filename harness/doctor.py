"""What a real run needs, checked on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import CheckpointError, HarnessError
from harness.runs.environment import package_version, package_versions
from harness.schema.spec import DEFAULT_MODEL, spec_of
from harness.schema.versions import CHANGES, PINS, Pins, behaviour, pins_of_software

if TYPE_CHECKING:
    from harness.schema.case import Case

Level = Literal["ok", "note", "missing"]

# bf16 weights of transformer (8.16 B) and T5-XXL (4.76 B) parameters, 2 bytes each.
FULL_SIZE_GIB = (8.16e9 + 4.76e9) * 2 / 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    topic: str
    level: Level
    found: str
    advice: str = ""


def examine(cases: Sequence[Case] = ()) -> list[Finding]:
    """Return findings on packages, GPU, memory, base, trust, LPIPS weights, noise, trainer and disk.

    Args:
        cases: compare with each version of the trainer that they record; none: with the newest.
    """
    checks = (_versions, _gpu, _memory, _checkpoint, _trust, _lpips, _noise)
    recorded = sorted({case.trained.software or "" for case in cases})
    trainers = [_recorded(software) for software in recorded] or [
        _trainer(PINS[-1], f"AI Toolkit {PINS[-1].since} and later")
    ]
    return [*(check() for check in checks), *trainers, _disk()]


def _versions() -> Finding:
    versions = package_versions() | {"optimum-quanto": package_version("optimum-quanto")}
    absent = [name for name, version in versions.items() if version == "missing"]
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    if absent:
        return Finding("packages", "missing", found, f"pip install {' '.join(absent)}")
    return Finding("packages", "ok", found)


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        advice = "the embedded checkpoint runs on the CPU; the real base needs a CUDA GPU"
        return Finding("GPU", "note", f"torch {torch.__version__} sees none", advice)
    free, total = torch.cuda.mem_get_info()
    found = f"{torch.cuda.get_device_name(0)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    if free / 2**30 < FULL_SIZE_GIB:
        advice = f"the base takes {FULL_SIZE_GIB:.0f} GiB in bf16: runs will offload"
        return Finding("GPU", "note", found, advice)
    return Finding("GPU", "ok", found)


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError):  # Windows
        return Finding("memory", "note", "not known on this system")
    if total < FULL_SIZE_GIB:
        advice = f"the base takes {FULL_SIZE_GIB:.0f} GiB here first, and what is offloaded stays"
        return Finding("memory", "note", f"{total:.0f} GiB", advice)
    return Finding("memory", "ok", f"{total:.0f} GiB")


def _checkpoint() -> Finding:
    from harness.pipeline.checkpoint import find_checkpoint
    from harness.schema.base import Base

    spec = spec_of(DEFAULT_MODEL)
    try:
        cached = find_checkpoint(Base(repo=spec.hub_repo), spec, download=False)
        return Finding("base", "ok", f"{spec.hub_repo} is in the cache, revision {cached.revision}")
    except CheckpointError:
        pass
    advice = f"hf download {spec.hub_repo} (some {FULL_SIZE_GIB:.0f} GiB), or give --base FOLDER"
    return Finding("base", "note", f"{spec.hub_repo} is not in the cache", advice)


def _trust() -> Finding:
    if os.environ.get("HARNESS_TRUST_REMOTE_CODE", "").lower() in {"1", "true", "t", "yes", "y", "on"}:
        return Finding("pipeline", "ok", "remote code is trusted: HARNESS_TRUST_REMOTE_CODE is set")
    spec = spec_of(DEFAULT_MODEL)
    advice = (
        f"--pipeline hub runs {spec.hub_repo}'s pipeline.py: read it, then give --trust-remote-code and "
        f"--base {spec.hub_repo}@COMMIT; --pipeline builtin needs neither"
    )
    return Finding("pipeline", "note", "remote code is not trusted", advice)


def _lpips() -> Finding:
    from harness.metrics.lpips import Lpips

    try:
        Lpips()
    except HarnessError as error:
        return Finding("LPIPS", "missing", str(error), "install the harness again")
    return Finding("LPIPS", "ok", "AlexNet layers are the shipped ones")


def _noise() -> Finding:
    from harness.pipeline.noise import torch_era

    era = torch_era()
    other = "≤ 2.11" if era == "current" else "≥ 2.12"
    advice = f"previews rendered under torch {other} show another picture for the same seed"
    return Finding("noise era", "ok", f"this torch draws {era} noise", advice)


def _recorded(software: str) -> Finding:
    pins = pins_of_software(software)
    if pins is not None:
        return _trainer(pins, f"{software}, which the cases record")
    found = f"the cases record {software or 'no version'}: what it installs is not known"
    return Finding(
        "trainer", "note", found, "harness diagnose tries both kinds of noise and of T5's attention"
    )


def _trainer(pins: Pins, name: str) -> Finding:
    """Compare what is installed with what AI Toolkit pins, where releases changed pixels."""
    versions = package_versions()
    pinned = {"torch": pins.torch, "transformers": pins.transformers}
    lines = []
    for subject, library in {change.subject: change.library for change in CHANGES}.items():
        there, here = pinned[library], versions[library]
        if there is None or here == "missing":
            continue
        ours, theirs = behaviour(subject, here), behaviour(subject, there)
        if ours != theirs:
            lines.append(f"{subject}: {theirs} there, {ours} here by default")
    torch = pins.torch or "of your choice"
    found = f"{name}: torch {torch}, transformers {pins.transformers}"
    return Finding("trainer", "ok", found, "; ".join(lines) or "no release between these changed pixels")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    return Finding("disk", "ok" if free > 1 else "note", f"{free:.0f} GiB free here")

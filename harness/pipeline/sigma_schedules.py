"""Sigma schedules, computed on the CPU without any model."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.pipeline.schedulers import SchedulerChoice
from harness.schema.render import REFERENCE_SHIFT, Shift
from harness.schema.spec import ModelSpec


def mu(image_seq_len: int, spec: ModelSpec, shift: Shift = REFERENCE_SHIFT) -> float:
    """Return the log of the dynamic shift for an image of ``image_seq_len`` tokens, (H/16)·(W/16).

    Linear in the token count, through ``base_shift`` and ``max_shift`` (diffusers' ``calculate_shift``).
    """
    config = shift.config(spec)
    short, long = config["base_image_seq_len"], config["max_image_seq_len"]
    slope = (config["max_shift"] - config["base_shift"]) / (long - short)
    return float(image_seq_len * slope + (config["base_shift"] - slope * short))


def sigmas_of(
    choice: SchedulerChoice,
    steps: int,
    image_seq_len: int,
    spec: ModelSpec,
    shift: Shift = REFERENCE_SHIFT,
) -> NDArray[np.float32]:
    """Return the noise levels that a render under ``choice`` goes through, from 1 down to 0.

    It asks the scheduler itself, with the pipeline's own call: one value per transformer call, then 0.

    Args:
        steps: as the case asks for; Heun makes 2·steps - 1 transformer calls of them.
        image_seq_len: packed tokens, (H/16)·(W/16).

    Raises:
        HarnessError: ``choice`` is not applicable, ``steps`` is below 1, or mu gives no falling sigmas.
    """
    if steps < 1:
        raise HarnessError(f"{steps} steps make no schedule", field="steps", fix="give 1 or more")
    scheduler: Any = choice.build(spec, shift)
    mu_here = mu(image_seq_len, spec, shift)
    with np.errstate(all="ignore"):
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu_here)
    sigmas = np.asarray(scheduler.sigmas.float().cpu(), dtype=np.float32)
    if not ((np.diff(sigmas) <= 0).all() and sigmas[0] <= 1):
        raise HarnessError(
            f"mu {mu_here:.3g} makes no schedule for {choice.name} at {image_seq_len} tokens",
            field="shift",
            fix="change base_shift or max_shift, or turn dynamic shifting off",
        )
    return sigmas


def sigmas_sha256(sigmas: NDArray[np.float32]) -> str:
    """Return the SHA-256 of a schedule's fp32 bytes, as 64 lowercase hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(sigmas, dtype=np.float32).tobytes()).hexdigest()

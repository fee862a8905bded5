"""A flow with a closed form: straight paths from standard normal noise to a normal target."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import retrieve_timesteps

MEAN, STD = 0.7, 0.3


def pipeline_call(scheduler: Any, steps: int, mu: float | None) -> torch.Tensor:
    """Set the schedule with the very call that the Flex.2 pipeline makes."""
    timesteps, _ = retrieve_timesteps(
        scheduler, steps, torch.device("cpu"), sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu
    )
    return timesteps


def velocity(x: torch.Tensor, sigma: float, std: float = STD) -> torch.Tensor:
    """E[noise - image | x] at noise level ``sigma``, for images of mean MEAN and deviation ``std``."""
    variance = (1 - sigma) ** 2 * std**2 + sigma**2
    surprise = (x - (1 - sigma) * MEAN) / variance
    return sigma * surprise - (MEAN + (1 - sigma) * std**2 * surprise)


def target(noise: torch.Tensor, std: float = STD) -> torch.Tensor:
    """Where the exact flow takes ``noise``."""
    return MEAN + std * noise


def integrate(scheduler: Any, timesteps: torch.Tensor, noise: torch.Tensor, std: float = STD) -> torch.Tensor:
    """Run the pipeline's denoising loop on the exact velocity."""
    x = noise
    for timestep in timesteps:
        exact = velocity(x.double(), float(timestep) / 1000, std).to(x.dtype)
        x = scheduler.step(exact, timestep, x, return_dict=False)[0]
    return x

"""Where ComfyUI puts the sigmas of a Flux model, by the names of its schedulers.

Its model has a table of 10 000 sigmas, sigma(t) = e^mu / (e^mu + 1/t - 1) at t = 1/10 000 to 1, and each
schedule takes some of them, or spaces its own between the table's ends, and then ends at 0. Facts from
ComfyUI 0.3.64; ``karras`` and ``exponential`` are k-diffusion's formulas (Karras et al. 2022; MIT).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

ENTRIES = 10_000


def comfy_sigmas(schedule: str, steps: int, mu: float) -> torch.Tensor:
    """Return the sigmas of ``schedule``, steps + 1 in fp32, from 1 down to 0.

    Args:
        schedule: ComfyUI's name of it, e.g. ``simple``.
        mu: log of the shift: 1.15 where no node of the graph changes it.
    """
    return torch.cat([_SPACING[schedule](steps, mu), torch.zeros(1)])


def shifted(t: torch.Tensor, mu: float) -> torch.Tensor:
    """Return sigma(t) for times in (0, 1]."""
    return math.exp(mu) / (math.exp(mu) + (1 / t - 1))


def table(mu: float) -> torch.Tensor:
    """Return the model's sigmas, rising to 1."""
    return shifted(torch.arange(1, ENTRIES + 1) / ENTRIES, mu)


def _simple(steps: int, mu: float) -> torch.Tensor:
    places = [-(1 + int(step * ENTRIES / steps)) for step in range(steps)]
    return table(mu)[places]


def _normal(steps: int, mu: float) -> torch.Tensor:
    return shifted(torch.linspace(1.0, float(table(mu)[0]), steps), mu)


def _sgm_uniform(steps: int, mu: float) -> torch.Tensor:
    return shifted(torch.linspace(1.0, float(table(mu)[0]), steps + 1)[:-1], mu)


def _beta(steps: int, mu: float) -> torch.Tensor:
    """Take quantiles of a beta(0.6, 0.6); an entry that would come twice is taken once."""
    import numpy as np
    from scipy.stats import beta

    quantiles = beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6)
    places = dict.fromkeys(int(place) for place in np.rint(quantiles * (ENTRIES - 1)))
    return table(mu)[list(places)]


def _karras(steps: int, mu: float, rho: float = 7.0) -> torch.Tensor:
    low, high = (float(edge) ** (1 / rho) for edge in (table(mu)[0], table(mu)[-1]))
    ramp = torch.linspace(0, 1, steps)
    sigmas: torch.Tensor = (high + ramp * (low - high)) ** rho
    return sigmas


def _exponential(steps: int, mu: float) -> torch.Tensor:
    low, high = (math.log(float(edge)) for edge in (table(mu)[0], table(mu)[-1]))
    return torch.linspace(high, low, steps).exp()


def _kl_optimal(steps: int, mu: float) -> torch.Tensor:
    low, high = (math.atan(float(edge)) for edge in (table(mu)[0], table(mu)[-1]))
    ramp = torch.arange(steps) / max(steps - 1, 1)
    return torch.tan(ramp * low + (1 - ramp) * high)


_SPACING: Mapping[str, Callable[[int, float], torch.Tensor]] = MappingProxyType({
    "simple": _simple, "normal": _normal, "sgm_uniform": _sgm_uniform, "beta": _beta, "karras": _karras,
    "exponential": _exponential, "kl_optimal": _kl_optimal,
})  # fmt: skip
"""Left out is ``ddim_uniform``, which begins below sigma 1."""

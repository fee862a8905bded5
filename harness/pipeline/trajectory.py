"""Record what the transformer predicts along one render, and estimate other renders from that.

A schedule decides at which sigmas the transformer is called and how far each velocity is followed. For one
case, velocities depend on sigma far more than on the path that led there. So the recorded velocities of one
render estimate the render of another schedule.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from harness.pipeline.schedulers import scheduler_of
from harness.pipeline.sigma_schedules import sigmas_of
from harness.pipeline.transformer_calls import replaced_forward
from harness.schema.render import RenderRequest, Trajectory
from harness.schema.spec import ModelSpec

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

SAME_SIGMA = 1e-3
"""Closer sigmas count as equal: UniPC truncates its timesteps to integers of 1000."""


class RecordedTrajectory:
    """Velocities of one render by sigma; see ``schema.render.Trajectory``."""

    def __init__(self) -> None:
        self._sigmas: list[float] = []
        self._velocities: list[torch.Tensor] = []

    def add(self, sigma: float, velocity: torch.Tensor) -> None:
        """Record a velocity; the first one at a sigma stays."""
        if not self.holds(sigma):
            place = bisect.bisect(self._sigmas, sigma)
            self._sigmas.insert(place, sigma)
            self._velocities.insert(place, velocity.clone())

    def holds(self, sigma: float) -> bool:
        """Whether a velocity at this sigma is recorded."""
        place = bisect.bisect(self._sigmas, sigma)
        return any(abs(sigma - near) < SAME_SIGMA for near in self._sigmas[max(0, place - 1) : place + 1])

    def at(self, sigma: float) -> torch.Tensor:
        """Return the velocity at ``sigma``, linearly interpolated, and constant outside the recorded ones."""
        place = bisect.bisect(self._sigmas, sigma)
        if place == 0 or place == len(self._sigmas):
            return self._velocities[min(place, len(self._sigmas) - 1)]
        low, high = self._sigmas[place - 1], self._sigmas[place]
        return torch.lerp(self._velocities[place - 1], self._velocities[place], (sigma - low) / (high - low))


def request_sigmas(request: RenderRequest, spec: ModelSpec) -> list[float]:
    """Return the sigma of every transformer call of ``request``, and the final 0.

    Args:
        spec: with the scheduler that the loaded checkpoint is rendered with.
    """
    tokens = spec.tokens(*request.size())
    choice = scheduler_of(request)
    return sigmas_of(choice, request.sample_steps, tokens, spec, request.shift).tolist()  # type: ignore[no-any-return]


@contextmanager
def recording(
    transformer: FluxTransformer2DModel, sigmas: Sequence[float], trajectory: RecordedTrajectory
) -> Iterator[None]:
    """Record in ``trajectory`` what ``transformer`` predicts at each of ``sigmas``."""
    own, remaining = transformer.forward, iter(sigmas)

    def forward(*args: Any, **inputs: Any) -> Any:
        output = own(*args, **inputs)
        trajectory.add(next(remaining), output[0])
        return output

    with replaced_forward(transformer, forward):
        yield


@contextmanager
def replaying(
    transformer: FluxTransformer2DModel,
    sigmas: Sequence[float],
    trajectory: Trajectory,
    evaluated: Collection[int],
) -> Iterator[None]:
    """Take velocities from ``trajectory``; only the calls ``evaluated``, counted from 0, are made."""
    own, remaining = transformer.forward, enumerate(sigmas)

    def forward(*args: Any, **inputs: Any) -> Any:
        index, sigma = next(remaining)
        if index in evaluated:
            return own(*args, **inputs)
        return (trajectory.at(sigma).to(inputs["hidden_states"].dtype),)

    with replaced_forward(transformer, forward):
        yield

"""Renders whose transformer mostly answers from memory: what it said along another render, by sigma.

A schedule decides at which sigmas the transformer is asked and how far each answer is followed. Along one
case the answers depend on sigma far more than on the path that led there, so another schedule can be
followed with the answers of a render that was made.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from harness.pipeline.schedulers import find_scheduler
from harness.pipeline.sigma_schedules import sigmas_of
from harness.schema.render import RenderRequest
from harness.schema.spec import FLEX2

SAME_SIGMA = 1e-3
"""Sigmas nearer than this are one: UniPC cuts its timesteps to integers of 1000."""


class Answers:
    """Velocities that the transformer gave along one path, by sigma."""

    def __init__(self) -> None:
        self._sigmas: list[float] = []
        self._velocities: list[torch.Tensor] = []

    def add(self, sigma: float, velocity: torch.Tensor) -> None:
        """Remember one answer; of answers at one sigma the first stays."""
        if not self.knows(sigma):
            place = bisect.bisect(self._sigmas, sigma)
            self._sigmas.insert(place, sigma)
            self._velocities.insert(place, velocity.clone())

    def knows(self, sigma: float) -> bool:
        """Whether an answer at this sigma is remembered."""
        place = bisect.bisect(self._sigmas, sigma)
        return any(abs(sigma - near) < SAME_SIGMA for near in self._sigmas[max(0, place - 1) : place + 1])

    def at(self, sigma: float) -> torch.Tensor:
        """Return the velocity at ``sigma``, between the nearest two on a straight line."""
        place = bisect.bisect(self._sigmas, sigma)
        if place == 0 or place == len(self._sigmas):
            return self._velocities[min(place, len(self._sigmas) - 1)]
        low, high = self._sigmas[place - 1], self._sigmas[place]
        return torch.lerp(self._velocities[place - 1], self._velocities[place], (sigma - low) / (high - low))


def sigmas_asked(request: RenderRequest) -> list[float]:
    """Return the sigma of each transformer call that ``request`` makes, then the 0 that it ends at."""
    width, height = request.size(FLEX2)
    tokens = (width // FLEX2.latent_divisor) * (height // FLEX2.latent_divisor)
    schedule = sigmas_of(find_scheduler(request.scheduler), request.sample_steps, tokens, request.shift)
    return [float(sigma) for sigma in schedule]


@contextmanager
def recording(transformer: Any, sigmas: Sequence[float], answers: Answers) -> Iterator[None]:
    """Remember in ``answers`` all that the transformer says."""
    own, call = transformer.forward, iter(sigmas)

    def forward(*args: Any, **inputs: Any) -> Any:
        said = own(*args, **inputs)
        answers.add(next(call), said[0])
        return said

    with _forwarding(transformer, forward):
        yield


@contextmanager
def answering(
    transformer: Any, sigmas: Sequence[float], answers: Answers, asked: Collection[int]
) -> Iterator[None]:
    """Answer for the transformer, which is asked only at the calls ``asked``, counted from 0."""
    own, call = transformer.forward, iter(range(len(sigmas)))

    def forward(*args: Any, **inputs: Any) -> Any:
        number = next(call)
        if number in asked:
            return own(*args, **inputs)
        return (answers.at(sigmas[number]).to(inputs["hidden_states"].dtype),)

    with _forwarding(transformer, forward):
        yield


@contextmanager
def _forwarding(transformer: Any, forward: Callable[..., Any]) -> Iterator[None]:
    own = transformer.forward
    transformer.forward = forward
    try:
        yield
    finally:
        transformer.forward = own

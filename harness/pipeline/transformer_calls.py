"""The transformer calls of a render: the first shared between schedules, the others through the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from harness.pipeline.engine.exact import Engine, signature

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

Forward = Callable[..., Any]
MAX_ENTRIES = 4


@dataclass(frozen=True)
class _Entry:
    weights: tuple[str, ...]
    shape: Any
    inputs: dict[str, torch.Tensor]
    output: torch.Tensor

    def matches(self, weights: tuple[str, ...], shape: Any, inputs: dict[str, Any]) -> bool:
        if (self.weights, self.shape) != (weights, shape):
            return False
        return all(torch.equal(value, inputs[name]) for name, value in self.inputs.items())


class FirstCallCache:
    """Makes the first call of a render once for all schedules: at sigma 1 they all make the same one.

    Two calls are the same if weights, shapes and every bit of their inputs are.

    Attributes:
        hits: calls answered from the cache.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=MAX_ENTRIES)
        self.hits = 0

    def __call__(
        self, weights: tuple[str, ...], run: Callable[..., tuple[torch.Tensor, ...]], inputs: dict[str, Any]
    ) -> tuple[torch.Tensor, ...]:
        """Return ``run(**inputs)``, or what the same call returned before."""
        shape = signature(inputs)
        if shape is None:
            return run(**inputs)
        for entry in self._entries:
            if entry.matches(weights, shape, inputs):
                self.hits += 1
                return (entry.output.clone(),)
        output = run(**inputs)
        if len(output) == 1:
            tensors = {key: value.clone() for key, value in inputs.items() if isinstance(value, torch.Tensor)}
            self._entries.append(_Entry(weights, shape, tensors, output[0].clone()))
        return output


@contextmanager
def route_calls(
    transformer: FluxTransformer2DModel,
    weights: tuple[str, ...],
    first_calls: FirstCallCache,
    engine: Engine | None,
) -> Iterator[None]:
    """Send one render's calls of ``transformer`` through ``first_calls`` and ``engine``; None is eager.

    Args:
        weights: names the weights that the transformer holds.
    """
    own: Forward = transformer.forward
    run: Forward = own if engine is None else engine
    if engine is not None:
        engine.begin(weights)
    first = True

    def forward(*args: Any, **inputs: Any) -> Any:
        nonlocal first
        is_first, first = first, False
        if args or inputs.get("return_dict") is not False:
            return own(*args, **inputs)
        return first_calls(weights, run, inputs) if is_first else run(**inputs)

    with replaced_forward(transformer, forward):
        yield


@contextmanager
def replaced_forward(transformer: FluxTransformer2DModel, forward: Forward) -> Iterator[None]:
    """Let ``forward`` stand in for the transformer's own."""
    attributes = transformer.__dict__
    before = attributes.get("forward")
    attributes["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del attributes["forward"]
        else:
            attributes["forward"] = before

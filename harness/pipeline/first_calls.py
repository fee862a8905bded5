"""Every call of the transformer goes through here: the shared first call, then the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from harness.pipeline.engine.exact import Engine, signature

MOST_KEPT = 4


@dataclass(frozen=True)
class _Call:
    weights: tuple[str, ...]
    shape: Any
    inputs: dict[str, Any]
    output: torch.Tensor


class FirstCalls:
    """Makes the first call of a render once for all schedules: at sigma 1 they all make the same one.

    A call is the same if weights, shapes and every bit of its inputs are.

    Attributes:
        shared: how many calls were not made.
    """

    def __init__(self) -> None:
        self._kept: deque[_Call] = deque(maxlen=MOST_KEPT)
        self.shared = 0

    def __call__(
        self, weights: tuple[str, ...], run: Callable[..., tuple[torch.Tensor, ...]], inputs: dict[str, Any]
    ) -> tuple[torch.Tensor, ...]:
        """Return ``run(**inputs)``, or what the same call returned before."""
        shape = signature(inputs)
        for kept in self._kept:
            if shape is not None and (kept.weights, kept.shape) == (weights, shape) and _same(kept, inputs):
                self.shared += 1
                return (kept.output.clone(),)
        output = run(**inputs)
        if shape is not None and len(output) == 1:
            copies = {
                name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)
            }
            self._kept.append(_Call(weights, shape, copies, output[0].clone()))
        return output


def _same(kept: _Call, inputs: dict[str, Any]) -> bool:
    return all(torch.equal(value, inputs[name]) for name, value in kept.inputs.items())


@contextmanager
def calling(
    transformer: Any, weights: tuple[str, ...], first_calls: FirstCalls, engine: Engine | None
) -> Iterator[None]:
    """Let one render's calls of ``transformer`` go through ``first_calls`` and ``engine``; None is eager."""
    before = transformer.__dict__.get("forward")
    run: Any = transformer.forward if engine is None else engine
    if engine is not None:
        engine.begin(weights)
    first = True

    def forward(*args: Any, **inputs: Any) -> Any:
        nonlocal first
        if args or inputs.get("return_dict") is not False:
            first = False
            return transformer_forward(*args, **inputs)
        if first:
            first = False
            return first_calls(weights, run, inputs)
        return run(**inputs)

    transformer_forward = transformer.forward
    transformer.__dict__["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del transformer.__dict__["forward"]
        else:
            transformer.__dict__["forward"] = before

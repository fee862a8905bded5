"""One transformer, called fast: its repeated blocks compiled, and on CUDA the whole call as a graph.

Regional compilation as in diffusers' ``compile_repeated_blocks``, but beside the eager blocks instead of in
their place, so that either can be called at any time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from harness.pipeline.engine.compile_workers import wait_until_ended
from harness.pipeline.engine.kernel_cache import use_cache
from harness.pipeline.engine.norms import OPAQUE

Inputs = dict[str, Any]
MAX_GRAPHS = 4
MAX_SHAPES = 64
WARM_UPS = 2


class FastTransformer:
    """Calls ``transformer`` fast; the first call of a shape compiles and captures.

    Args:
        eager: the transformer's own forward; takes keyword arguments and returns a tuple of one tensor.
        compiled: compile the blocks; without, a graph holds eager's own kernels.
    """

    def __init__(self, transformer: Any, eager: Callable[..., Any], device: str, *, compiled: bool) -> None:
        use_cache(device)
        wait_until_ended()
        self.transformer = transformer
        self._eager = eager
        self._graphs: OrderedDict[Any, _Graph] | None = OrderedDict() if device == "cuda" else None
        self._pool: Any = None
        self._blocks = _compiled_blocks(transformer) if compiled else {}

    def __call__(self, key: Any, inputs: Inputs) -> torch.Tensor:
        """Return the output for ``inputs``; one ``key`` is one shape with weights in one place."""
        if self._graphs is None:
            return self._compiled(inputs)
        if key not in self._graphs:
            if len(self._graphs) >= MAX_GRAPHS:
                self._graphs.popitem(last=False)
            self._graphs[key] = self._capture(inputs)
        self._graphs.move_to_end(key)
        return self._graphs[key].replay(inputs)

    def _compiled(self, inputs: Inputs) -> torch.Tensor:
        with _fast(self.transformer, self._blocks), torch._dynamo.config.patch(recompile_limit=MAX_SHAPES):
            (output,) = self._eager(**inputs)
        assert isinstance(output, torch.Tensor)
        return output

    def _capture(self, inputs: Inputs) -> _Graph:
        held = {name: _copy(value) for name, value in inputs.items()}
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._compiled(held)
        torch.cuda.current_stream().wait_stream(side)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = self._compiled(held)
        return _Graph(graph, held, output)


@dataclass(frozen=True)
class _Graph:
    graph: Any
    held: Inputs
    output: torch.Tensor

    def replay(self, inputs: Inputs) -> torch.Tensor:
        for name, value in inputs.items():
            if isinstance(value, torch.Tensor):
                self.held[name].copy_(value)
        self.graph.replay()
        return self.output.clone()


def _compiled_blocks(transformer: Any) -> dict[Any, Callable[..., Any]]:
    """Return the forward of every repeated block, compiled, by module."""
    return {
        module: torch.compile(module.forward, fullgraph=True, dynamic=False, options=_OPTIONS)
        for module in transformer.modules()
        if type(module).__name__ in transformer._repeated_blocks
    }


_OPTIONS: dict[str, Any] = {"emulate_precision_casts": True, "triton.max_tiles": 1}
"""Round where eager rounds: a fused kernel keeps fp32 between operations otherwise. And tile no pointwise
kernel in two dimensions: on an H100 the one of queries and keys took four times as long."""


@contextmanager
def _fast(transformer: Any, blocks: dict[Any, Callable[..., Any]]) -> Iterator[None]:
    """Let the blocks run compiled, and every norm through its opaque operator; nothing where none is."""
    modules = transformer.modules() if blocks else ()
    norms = {module: type(module) for module in modules if type(module) in OPAQUE}
    for norm, plain in norms.items():
        norm.__class__ = OPAQUE[plain]
    for block, forward in blocks.items():
        block.__dict__["forward"] = forward
    try:
        yield
    finally:
        for norm, plain in norms.items():
            norm.__class__ = plain
        for block in blocks:
            block.__dict__.pop("forward", None)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value

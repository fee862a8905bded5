"""Products of bf16 on a processor without instructions for them: computed in fp32, and rounded to bf16.

Where oneDNN has no bf16 kernels (on x86 below AVX-512), torch multiplies in plain loops, many times slower
than in fp32. Kernels for bf16 add in fp32 and round once too: this is one more order of adding, and every
kind of processor has its own. optimum-quanto's product with a float8 weight is one of these too: it
multiplies with the weight put back into bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_PRODUCTS = frozenset(
    (
        functional.conv2d, functional.linear, torch.baddbmm, torch.bmm, torch.matmul,
        torch.Tensor.__matmul__, torch.Tensor.bmm, torch.Tensor.matmul,
    )
)  # fmt: skip

_IS_QUICK = ContextVar("_IS_QUICK", default=False)


@cache
def has_bf16_kernels() -> bool:
    """Whether oneDNN multiplies bf16 on this processor."""
    known = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(known and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def quick_products() -> Iterator[None]:
    """Compute this thread's products of bf16 on the CPU in fp32."""
    token = _IS_QUICK.set(True)
    try:
        with _Fp32Products():
            yield
    finally:
        _IS_QUICK.reset(token)


def is_quick() -> bool:
    """Whether this thread computes products of bf16 in fp32."""
    return _IS_QUICK.get()


class _Fp32Products(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func not in _PRODUCTS or not args or not _is_bf16(args[0]):
            return func(*args, **named)
        if func is functional.linear and len(args) == 2 and _is_float8(args[1]):
            product = functional.linear(args[0].float(), args[1].dequantize().float()).to(torch.bfloat16)
            bias = named.get("bias")
            return product if bias is None else product + bias  # added in bf16, as optimum-quanto does
        made = func(*map(_wider, args), **{name: _wider(value) for name, value in named.items()})
        return made.to(torch.bfloat16)


def _is_bf16(value: object) -> bool:
    plain = type(value) in {torch.Tensor, torch.nn.Parameter}  # quantized weights have kernels of their own
    return plain and value.dtype is torch.bfloat16 and value.device.type == "cpu"  # type: ignore[attr-defined]


def _is_float8(value: object) -> bool:
    """Whether ``value`` is a float8 weight of optimum-quanto, which is not imported for this."""
    return type(value).__name__ == "WeightQBytesTensor" and value._data.is_floating_point()  # type: ignore[attr-defined]


def _wider(value: Any) -> Any:
    return value.float() if _is_bf16(value) else value

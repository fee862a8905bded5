"""Quantized copies of the transformer and of T5, swapped in and out of one loaded pipeline.

AI Toolkit quantizes both with optimum-quanto's defaults: every linear layer's weights, no activations.
Source: ``ostris/ai-toolkit``, ``extensions_built_in/flex2/flex2.py``.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pipeline.load import LoadedPipeline
from harness.schema.case import Quantize

if TYPE_CHECKING:
    from torch import nn

TRANSFORMER, T5 = "transformer", "text_encoder_2"
COMPONENTS: dict[Quantize, frozenset[str]] = {
    "none": frozenset(),
    "qfloat8": frozenset({TRANSFORMER, T5}),
    "qfloat8-transformer": frozenset({TRANSFORMER}),
    "qfloat8-te": frozenset({T5}),
}


def require_quanto() -> None:
    """Check that optimum-quanto is installed.

    Raises:
        HarnessError: it is not; says the line that installs it.
    """
    try:
        with _quiet():
            import optimum.quanto  # noqa: F401
    except ImportError as error:
        raise HarnessError(
            "needs optimum-quanto, which is not installed",
            field="quantize",
            fix="pip install optimum-quanto",
        ) from error


class QuantizedParts:
    """Which parts of one pipeline are quantized; a copy is made once and kept beside its original."""

    def __init__(self, loaded: LoadedPipeline) -> None:
        self._loaded = loaded
        self._originals = {name: getattr(loaded.pipe, name) for name in (TRANSFORMER, T5)}
        self._copies: dict[str, nn.Module] = {}
        self.current: Quantize = "none"

    def apply(self, wanted: Quantize) -> None:
        """Quantize the parts that ``wanted`` names, and leave the others as loaded.

        The transformer must hold no LoRA when this is called.

        Raises:
            HarnessError: optimum-quanto is missing, or weights are offloaded.
        """
        if wanted == self.current:
            return
        if self._loaded.offload != "none":
            raise HarnessError(
                f"{wanted} with offload {self._loaded.offload}: quantized copies are not offloaded",
                field="quantize",
                fix="give --offload none, or a GPU with more memory",
            )
        for name, original in self._originals.items():
            setattr(self._loaded.pipe, name, self._copy(name) if name in COMPONENTS[wanted] else original)
        self.current = wanted

    def _copy(self, name: str) -> nn.Module:
        if name not in self._copies:
            require_quanto()
            from optimum.quanto import freeze, qfloat8, quantize

            part = copy.deepcopy(self._originals[name])
            with _quiet():
                quantize(part, weights=qfloat8)
                freeze(part)
            self._copies[name] = part
        return self._copies[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's remark that it finds no CUDA, where quanto looks for its own kernels."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

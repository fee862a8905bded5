"""An audit without a render: what loaders make of a LoRA's keys, and what a base's precision leaves of it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, LoraError
from harness.metrics.threads import one_thread
from harness.precision.availability import missing
from harness.precision.base_modules import ModuleWeight, base_modules
from harness.precision.drift import Loss, losses
from harness.precision.key_audit import LoaderKeys, audit_keys
from harness.precision.layer_audit import Applied, LayerAudit, applied_json, layer_of, measure
from harness.precision.lora_delta import LoraDelta, lora_deltas
from harness.precision.read_ahead import Extent, reading_ahead
from harness.precision.rounding import rounded
from harness.precision.row_blocks import extents
from harness.precision.survival import Survival
from harness.precision.weights_file import require_known_type
from harness.schema.device import choose_device
from harness.schema.lora_file import LoraFile, inspect_lora
from harness.schema.lora_forms import find_layers, form_of
from harness.schema.lora_header import read_header
from harness.schema.lora_models import refuse_other_model

MAX_THREADS = {"cpu": 24, "cuda": 4}
"""Layers that are measured at a time, by the device that computes; each costs the CPU 40 MB.

More threads than these wait for the interpreter, not for a GPU.
"""

MAX_CHANGE = 1e15
"""Root mean square of a layer's change up to which fp32 holds the sums of squares."""

_log = logging.getLogger(__name__)


@dataclass
class Audit:
    """What an audit found.

    Attributes:
        unread: why the changes are unknown, where the file is more or less than a LoRA.
        is_zero: every layer changes nothing, so that nothing can survive or be lost.
        rows: rows of each layer that were read, evenly spread; None for all.
        left_out: quantizers that cannot run here, with the reason.
        layers: worst first with a base, else largest change first.
        total: over all layers.
    """

    lora: Path
    multiplier: float
    keys: tuple[LoaderKeys, ...]
    unread: str | None = None
    is_zero: bool = False
    base: Path | None = None
    rows: int | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    layers: list[LayerAudit] = field(default_factory=list)
    total: Applied = field(default_factory=dict)

    @property
    def losses(self) -> list[Loss]:
        """The ways that round some of the LoRA away, with what that does to pictures."""
        return losses(self.total)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        return {
            "lora": self.lora.name,
            "network_multiplier": self.multiplier,
            "keys": [each.to_json() for each in self.keys],
            "unread": self.unread,
            "is_zero": self.is_zero,
            "base": None if self.base is None else self.base.name,
            "rows_per_layer": self.rows,
            "left_out": self.left_out,
            "findings": [each.to_json() for each in self.losses],
            "total": applied_json(self.total),
            "layers": [each.to_json() for each in self.layers],
        }


def audit(
    lora: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    quantizers: Sequence[str] = (),
    multiplier: float = 1.0,
    rows: int | None = None,
    device: str = "cpu",
) -> Audit:
    """Audit a LoRA file.

    Args:
        base: a safetensors or GGUF file of a transformer, or a folder in the hub's layout.
        quantizers: names in ``QUANTIZERS``; what cannot run here is left out and named.
        rows: rows of each layer to read, evenly spread; None reads all.
        device: ``auto``, ``cpu`` or ``cuda``: what computes.

    Raises:
        DeviceError: CUDA was asked for and there is none.
        LoraError: missing, a pickle, or truncated; with a base, also a LoRA of another shape.
        CheckpointError: the base cannot be read, or is no transformer of this kind.
    """
    lora = Path(lora)
    base = None if base is None else Path(base)
    started = time.monotonic()
    found = Audit(lora, multiplier, _keys(lora), base=base, rows=rows)
    wanted = () if base is None else dict.fromkeys(quantizers)
    found.left_out = {name: why for name in wanted if (why := missing(name)) is not None}
    able = [name for name in wanted if name not in found.left_out]
    needed = [] if base is None else _needed(lora, base, rows)
    _log.info("read headers in %.1f s", time.monotonic() - started)
    with reading_ahead(needed), _getting_ready(able if needed else None, device) as ready:
        try:
            checked = inspect_lora(lora)
        except LoraError as error:
            found.unread, found.left_out = error.found, {}
            return found
        modules = {} if base is None else _matching(checked, base)
        _log.info("checked the LoRA after %.1f s", time.monotonic() - started)
        used = device if base is None else ready()
        _log.info("imported what computes on %s after %.1f s", used, time.monotonic() - started)
        deltas = list(lora_deltas(checked, multiplier))
        found.layers = [layer_of(delta) for delta in deltas]
        found.is_zero = not any(layer.change for layer in found.layers)
        if (odd := next((each for each in found.layers if not each.change < MAX_CHANGE), None)) is not None:
            found.unread = f"changes {odd.module} by {odd.change:.2g} (root mean square): it diverged"
            found.layers, found.left_out = [], {}
            return found
        if base is not None:
            _measure(found.layers, deltas, modules, able, rows, used)
            _log.info("measured every layer after %.1f s", time.monotonic() - started)
    for key, each in ((key, each) for layer in found.layers for key, each in layer.applied.items()):
        found.total.setdefault(key, Survival()).include(each)
    by_size = base is None
    found.layers.sort(key=lambda layer: (-layer.change if by_size else layer.worst, layer.module))
    return found


def _needed(lora: Path, base: Path, rows: int | None) -> list[Extent]:
    """Return what will be read of the base, from headers alone; nothing where a file will be refused."""
    try:
        tensors, _ = read_header(lora)
        names = {each for layer in find_layers(lora, tensors, form_of(tensors)) for each in layer.modules}
        modules = base_modules(base)
        return sorted(extent for name in names for extent in extents(modules[name], rows))
    except (HarnessError, OSError, KeyError):
        return []


@contextmanager
def _getting_ready(quantizers: list[str] | None, device: str) -> Iterator[Callable[[], str]]:
    """Import torch and the quantizers' libraries beside the block; the value waits, and returns the device.

    With None nothing is done before the value is asked for.
    """
    with ThreadPoolExecutor(1) as importer:
        if quantizers is None:
            yield lambda: _ready([], device)
        else:
            yield importer.submit(_ready, quantizers, device).result


def _ready(quantizers: list[str], device: str) -> str:
    import torch

    device = choose_device(device)
    for name in quantizers:  # the first use imports its library, which threads had better not do together
        rounded(name, torch.ones(1, 256, dtype=torch.bfloat16, device=device))
    return device


def _measure(
    layers: list[LayerAudit],
    deltas: list[LoraDelta],
    modules: dict[str, ModuleWeight],
    quantizers: list[str],
    rows: int | None,
    device: str,
) -> None:
    """Measure every layer; threads take them in the order of the base's bytes."""

    def place(pair: tuple[LayerAudit, LoraDelta]) -> tuple[Path, int, int]:
        weight = modules[pair[1].module]
        return weight.stored.file, weight.stored.begin, weight.first_row

    def measured(pair: tuple[LayerAudit, LoraDelta]) -> None:
        layer, delta = pair
        measure(layer, delta, modules[delta.module], quantizers, rows, device)

    threads = min(MAX_THREADS[device], os.cpu_count() or 1)
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        list(pool.map(measured, sorted(zip(layers, deltas, strict=True), key=place)))


def _keys(lora: Path) -> tuple[LoaderKeys, ...]:
    try:
        tensors, metadata = read_header(lora)
    except OSError as error:
        raise LoraError(f"cannot be read ({error.strerror})", file=lora) from error
    refuse_other_model(lora, tensors, metadata)
    return audit_keys(lora, tensors)


def _matching(lora: LoraFile, base: Path) -> dict[str, ModuleWeight]:
    """Return the base's modules; all of those that the LoRA names are there, and of its shape."""
    modules = base_modules(base)
    for name, (_, columns, rows) in lora.modules.items():
        if (weight := modules.get(name)) is not None:
            require_known_type(weight.stored)
        if weight is None or (weight.rows, weight.columns) != (rows, columns):
            has = "none of that name" if weight is None else f"{weight.rows}×{weight.columns}"
            found = f"is {rows}×{columns}, and the base has {has}"
            raise LoraError(found, file=lora.path, field=name, fix="was it trained on this base?")
    return modules

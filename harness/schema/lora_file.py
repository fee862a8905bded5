"""LoRA files, checked without torch and without executing anything.

A file is accepted if diffusers applies every key of it, converted where ``lora_forms`` says so. Source of AI
Toolkit's own form, which has no alpha: ``ostris/ai-toolkit``, ``toolkit/network_mixins.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._util.atomic_files import disk_errors_as
from harness._util.unchanged_files import State, settled_state
from harness.errors import LoraError
from harness.schema.lora_forms import CONVERSIONS, Form, Layer, find_layers, form_of
from harness.schema.lora_header import FLOAT8, Tensor, hash_finite_weights, read_header
from harness.schema.lora_models import refuse_other_model

ADAPTER_METADATA = "lora_adapter_metadata"
"""Entry of the header in which diffusers saves PEFT's config, and from which it reads the scale."""

_PREFIX, _PEFT_DEFAULT = "transformer.", 8

_ROUNDED = (
    "the LoRA is saved in float8, rounded from the weights that the previews show: expect a drift that no "
    "setting explains"
)
_KNOWN: dict[Path, tuple[State, LoraFile]] = {}
"""Files that this process has read, with the state in which it did."""
_MAX_KNOWN = 64


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file whose keys are all understood.

    Attributes:
        tensors: every tensor by its key, in the order of the file.
        metadata: the header's ``__metadata__``: strings, some of them JSON.
        form: how the keys are written; see ``lora_forms``.
        modules: (rank, in_features, out_features) by the transformer module that diffusers applies it to.
        scales: what diffusers multiplies each module's B·A by, beside the multiplier and what it has folded
            into the weights when it converted them.
        notes: what a user should know about how diffusers reads this file, in sentences.
        is_zero: every layer is known to change nothing; weights that were not read count as not known.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    form: Form
    modules: Mapping[str, tuple[int, int, int]]
    scales: Mapping[str, float]
    notes: tuple[str, ...]
    is_zero: bool = False

    @property
    def software(self) -> str | None:
        """Name and version of the trainer that wrote the file, e.g. ``ai-toolkit 0.12.26``."""
        return software_of(self.metadata)

    @property
    def step(self) -> int | None:
        """Training step that the metadata records."""
        return step_of(self.metadata)


def step_of(metadata: Mapping[str, str]) -> int | None:
    """Return the training step from a file's metadata."""
    step = _json(metadata, "training_info").get("step")
    return step if type(step) is int else None


def software_of(metadata: Mapping[str, str]) -> str | None:
    """Return name and version of the trainer from a file's metadata, e.g. ``ai-toolkit 0.12.26``."""
    software = _json(metadata, "software")
    words = [software[key] for key in ("name", "version") if isinstance(software.get(key), str)]
    return " ".join(words) or None


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return a file's metadata from its header alone; nothing where it cannot be read."""
    try:
        return read_header(path)[1]
    except (LoraError, OSError):
        return {}


def _json(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        value = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def inspect_lora(path: Path, checked_sha256: str | None = None) -> LoraFile:
    """Read a LoRA file; check that diffusers applies every key and that every weight is a finite number.

    A file that this process has read, and that was neither written to nor replaced since, is not read again.

    Args:
        checked_sha256: hash of the file from an earlier call, where it has not changed since: its weights are
            not read again.

    Raises:
        LoraError: missing, a pickle (left unread), truncated, not safetensors; a LoKr or DoRA; with keys that
            diffusers does not apply, or that are more than a LoRA; with lora_A and lora_B that do not match;
            of another dtype than F32, F16, BF16 and F8_E4M3, or of the last in a form that diffusers
            would have to scale; with weights that are NaN or infinite.
    """
    with disk_errors_as(LoraError, "cannot be read", file=path):
        state, known = settled_state(path), _KNOWN.get(path)
        if known is not None and known[0] == state:
            return known[1]
        found = _read(path, checked_sha256)
    if state is not None and checked_sha256 is None:
        _KNOWN[path] = state, found
        for oldest in list(_KNOWN)[:-_MAX_KNOWN]:
            del _KNOWN[oldest]
    return found


def _read(path: Path, checked_sha256: str | None) -> LoraFile:
    tensors, metadata = read_header(path)
    refuse_other_model(path, tensors, metadata)
    form = form_of(tensors)
    layers = find_layers(path, tensors, form)
    _refuse_scaled_float8(path, tensors, form, layers)
    modules = _modules(path, layers)
    if checked_sha256 is None or any(layer.alpha for layer in layers):
        sha256, numbers, zeros = hash_finite_weights(path, tensors)
    else:
        sha256, numbers, zeros = checked_sha256, {}, frozenset()
    alphas = {layer: numbers.get(layer.alpha or "", float(layer.rank)) / layer.rank for layer in layers}
    adapter = _adapter_scale(path, metadata, layers)
    folded = form != "peft"  # diffusers converts with alpha, or leaves it out
    scales = {
        module: adapter * (1.0 if folded else alphas[layer]) for layer in layers for module in layer.modules
    }
    notes = _notes(
        form, len(modules), [*alphas.values()] if any(layer.alpha for layer in layers) else [], adapter
    )
    if any(tensor.dtype == FLOAT8 for tensor in tensors.values()):
        notes = (*notes, _ROUNDED)
    is_zero = all(layer.a in zeros or layer.b in zeros for layer in layers)
    return LoraFile(path, sha256, tensors, metadata, form, modules, scales, notes, is_zero)


def _refuse_scaled_float8(path: Path, tensors: Mapping[str, Tensor], form: Form, layers: list[Layer]) -> None:
    """Refuse float8 weights that diffusers would scale as it converts them: torch multiplies none."""
    for layer in layers:
        scaled = layer.alpha is not None or form not in {"peft", "down-up"}
        if scaled and FLOAT8 in {tensors[key].dtype for key in (layer.a, layer.b)}:
            found = f"is of dtype {FLOAT8}, which diffusers cannot convert from this form"
            raise LoraError(
                found, file=path, field=layer.a, fix="use the file that AI Toolkit saved, or BF16"
            )


def _modules(path: Path, layers: list[Layer]) -> dict[str, tuple[int, int, int]]:
    modules: dict[str, tuple[int, int, int]] = {}
    for layer in layers:
        for module, rows in zip(layer.modules, layer.split(), strict=True):
            if module in modules:
                raise LoraError("is named by two layers", file=path, field=module)
            modules[module] = (layer.rank, layer.in_features, rows)
    return modules


def _adapter_scale(path: Path, metadata: Mapping[str, str], layers: list[Layer]) -> float:
    """Return by what the header's ``lora_adapter_metadata``, a ``LoraConfig`` of PEFT, scales the LoRA."""
    text = metadata.get(ADAPTER_METADATA)
    if text is None or text.strip() == "null":
        return 1.0

    def refused(found: str) -> LoraError:
        fix = "AI Toolkit writes no such entry: use the file as it saved it"
        return LoraError(found, file=path, field=f"__metadata__.{ADAPTER_METADATA}", fix=fix)

    entries = _json(metadata, ADAPTER_METADATA)
    config = {key.removeprefix(_PREFIX): value for key, value in entries.items() if key.startswith(_PREFIX)}
    if not config.get("target_modules"):
        raise refused(f"names no {_PREFIX}target_modules, without which diffusers cannot load the file")
    if odd := [key for key in ("use_dora", "lora_bias", "alpha_pattern", "rank_pattern") if config.get(key)]:
        raise refused(f"sets {odd[0]}, which is more than one scale")
    rank, alpha = config.get("r", _PEFT_DEFAULT), config.get("lora_alpha", _PEFT_DEFAULT)
    if type(rank) is not int or rank < 1 or type(alpha) not in {int, float} or not math.isfinite(alpha):
        raise refused(f"has r {rank!r} and lora_alpha {alpha!r}, which are not numbers above 0")
    if others := sorted({layer.rank for layer in layers} - {rank}):
        raise refused(f"says rank {rank}, and the weights have rank {others[0]}")
    if any(layer.alpha for layer in layers):
        raise refused("stands beside alpha keys; diffusers refuses both together")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _notes(form: Form, modules: int, alphas: list[float], adapter: float) -> tuple[str, ...]:
    notes = []
    if form in CONVERSIONS:
        notes.append(
            f"the LoRA is not in AI Toolkit's form: {CONVERSIONS[form]} ({modules}), as diffusers does"
        )
    if form == "down-up" and alphas:
        notes.append("the LoRA has alpha keys, which diffusers ignores in this form")
    elif any(scale != 1 for scale in alphas):
        factors = ", ".join(f"{scale:g}" for scale in sorted(set(alphas))[:3])
        notes.append(
            f"the LoRA's alpha keys scale it by {factors}, which diffusers applies; AI Toolkit writes none"
        )
    if adapter != 1:
        notes.append(
            f"the LoRA's header ({ADAPTER_METADATA}) scales it by {adapter:.4g}, which diffusers applies; AI "
            "Toolkit neither writes nor reads it, so its previews show the LoRA at 1"
        )
    return tuple(notes)

"""LoRA files of AI Toolkit, checked without torch and without executing anything.

Keys, shapes and metadata come from the safetensors header; weights are only searched for NaN and infinity.
Source of the key form and of the missing alpha: ``ostris/ai-toolkit``, ``toolkit/network_mixins.py``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import LoraError

MAX_HEADER = 16 << 20
"""Largest header that is read, in bytes; a LoRA of every layer of Flex.2 needs 0.1 MB."""

MAX_TENSORS = 10_000
"""Most tensors of one file; a LoRA of every layer of Flex.2 has under a thousand."""

_EXPONENTS = {"F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""By dtype: how a number is stored, and the exponent bits, all of which are set in NaN and infinity."""

_CHUNK = 1 << 22
_KEY = re.compile(r"transformer\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header describes it; ``dtype`` is the format's own name, e.g. ``BF16``."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file whose keys are all understood.

    Attributes:
        tensors: every tensor by its key, in the order of the file.
        metadata: the header's ``__metadata__``: strings, some of them JSON.
        modules: (rank, in_features, out_features) by module name without the ``transformer.`` prefix.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    modules: Mapping[str, tuple[int, int, int]]

    @property
    def software(self) -> str | None:
        """Name and version of the trainer that wrote the file, e.g. ``ai-toolkit 0.12.26``."""
        software = self._json("software")
        words = [software[key] for key in ("name", "version") if isinstance(software.get(key), str)]
        return " ".join(words) or None

    @property
    def step(self) -> int | None:
        """Training step that the metadata records."""
        step = self._json("training_info").get("step")
        return step if isinstance(step, int) else None

    def _json(self, key: str) -> dict[str, Any]:
        try:
            value = json.loads(self.metadata.get(key, "{}"))
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def inspect_lora(path: Path) -> LoraFile:
    """Read a LoRA file; check that every key takes effect and that every weight is a finite number.

    Raises:
        LoraError: missing, a pickle (left unread), truncated, not safetensors, LoKr, with alpha keys, with
            keys of an unknown form, with lora_A and lora_B that do not match, of another dtype than F32, F16
            and BF16, or with weights that are NaN or infinite.
    """
    try:
        _check_start(path)
        tensors, metadata = _read_header(path)
        _refuse_other_kinds(path, tensors)
        modules = _modules(path, tensors)
        return LoraFile(path, _hash_finite_weights(path, tensors), tensors, metadata, modules)
    except OSError as error:
        raise LoraError(f"cannot be read ({error.strerror or error})", file=path) from error


def _check_start(path: Path) -> None:
    """Refuse a file that is not safetensors by its first bytes, before a library opens it."""
    size = path.stat().st_size
    if not path.is_file():
        raise LoraError("is not a regular file", file=path)
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{":
        if start.startswith((_ZIP, _PICKLE)):
            found = "is a pickle, which can run any code when loaded; it was not read"
            raise LoraError(found, file=path, fix="use the .safetensors file that AI Toolkit wrote")
        fix = "it may be truncated, or a download page: copy it again"
        raise LoraError("is not a safetensors file", file=path, fix=fix)
    if length > MAX_HEADER:
        raise LoraError(f"claims a header of {length} bytes; at most {MAX_HEADER} are read", file=path)
    if length > size - 8:
        found = f"is truncated: {size} bytes, and its header alone needs {length + 8}"
        raise LoraError(found, file=path, fix="copy it again")


def _read_header(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors in the order of their bytes, and the metadata."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            keys, metadata = file.offset_keys(), file.metadata() or {}
            if len(keys) > MAX_TENSORS:
                raise LoraError(f"lists {len(keys)} tensors; at most {MAX_TENSORS} are read", file=path)
            slices = {key: file.get_slice(key) for key in keys}
    except SafetensorError as error:
        found = f"is truncated or not a valid safetensors file ({error})"
        raise LoraError(found, file=path, fix="copy it again") from error
    tensors = {key: Tensor(view.get_dtype(), tuple(view.get_shape())) for key, view in slices.items()}
    for key, tensor in tensors.items():
        if tensor.dtype not in _EXPONENTS:
            fix = "AI Toolkit saves LoRAs in " + ", ".join(_EXPONENTS)
            raise LoraError(f"is of dtype {tensor.dtype}", file=path, field=key, fix=fix)
    return tensors, metadata


def _hash_finite_weights(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the file; on the way, refuse weights that are NaN or infinite."""
    import numpy as np

    with path.open("rb") as file:
        start = file.read(8)
        digest = hashlib.sha256(start + file.read(int.from_bytes(start, "little")))
        for key, tensor in tensors.items():
            layout, exponent = _EXPONENTS[tensor.dtype]
            left = math.prod(tensor.shape) * np.dtype(layout).itemsize
            while left:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise LoraError("became shorter while it was read", file=path, fix="copy it again")
                left -= len(data)
                digest.update(data)
                if ((np.frombuffer(data, layout) & exponent) == exponent).any():
                    fix = "the training diverged: leave these steps out, or use an earlier checkpoint"
                    raise LoraError("holds weights that are NaN or infinite", file=path, field=key, fix=fix)
    return digest.hexdigest()


def _refuse_other_kinds(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if not tensors:
        raise LoraError("holds no tensors", file=path)
    if lokr := [key for key in tensors if ".lokr_" in key]:
        found = f"is a LoKr file ({_some(lokr)}), which the reference pipeline cannot load"
        raise LoraError(found, file=path, fix="train with network.type: lora")
    if alphas := [key for key in tensors if key.endswith(".alpha")]:
        found = (
            f"holds alpha keys ({_some(alphas)}); AI Toolkit writes none for Flex.2, its scale is always 1"
        )
        raise LoraError(found, file=path, fix="use the file as AI Toolkit saved it")
    if unknown := [key for key in tensors if not _KEY.fullmatch(key)]:
        found = f"holds keys that would be ignored ({_some(unknown)})"
        fix = "expected keys are transformer.<module>.lora_A.weight and .lora_B.weight"
        raise LoraError(found, file=path, fix=fix)


def _modules(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int, int]]:
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, tensor in tensors.items():
        if match := _KEY.fullmatch(key):
            shapes.setdefault(match["module"], {})[match["side"]] = tensor.shape
    if single := [module for module, sides in shapes.items() if len(sides) == 1]:
        raise LoraError(f"has only one of lora_A and lora_B for {_some(single)}", file=path)
    modules = {}
    for module, sides in shapes.items():
        a, b = sides["A"], sides["B"]
        if len(a) != 2 or len(b) != 2 or a[0] != b[1] or 0 in (*a, *b):
            found = f"has lora_A {list(a)} and lora_B {list(b)}, which are not [rank, in] and [out, rank]"
            raise LoraError(found, file=path, field=module)
        modules[module] = (a[0], a[1], b[0])
    return modules


def _some(names: Iterable[str], limit: int = 3) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more

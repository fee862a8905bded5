"""LoRA files of AI Toolkit, checked without torch and without executing anything.

What the keys and shapes say comes from the safetensors header; the weights are only looked through for values
that are no numbers. Key form and missing alpha: ``ostris/ai-toolkit``, ``toolkit/network_mixins.py``. Header
layout: ``README.md`` of the safetensors project (8 bytes of little-endian length, then that much JSON).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._util.atomic_files import sha256_file
from harness.errors import LoraError

MAX_HEADER = 16 << 20
"""Largest header in bytes that is read; the format allows 100 MB, and a LoRA of every layer needs 0.1 MB."""

MAX_TENSORS = 10_000
"""Most tensors of one file; a LoRA of every layer of Flex.2 has under a thousand."""

_EXPONENTS = {"F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""How a number lies in the file and the bits of its exponent, which are all set in NaN and infinity."""

_CHUNK = 1 << 24
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
        tensors: every tensor by its key.
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
    """Read a LoRA file and check that every key in it is one that takes effect, and every weight a number.

    Raises:
        LoraError: missing, a pickle (left unread), truncated, not safetensors, LoKr, with alpha keys, with
            keys of an unknown form, with halves that do not fit, of another dtype than F32, F16 and BF16,
            or with weights that are NaN or infinite.
    """
    try:
        header, data_bytes = _read_header(path)
        metadata = _metadata(path, header.pop("__metadata__", None) or {})
        tensors = _tensors(path, header, data_bytes)
        _refuse_other_kinds(path, tensors)
        modules = _modules(path, tensors)
        _refuse_no_numbers(path, tensors, path.stat().st_size - data_bytes)
        return LoraFile(path, sha256_file(path), tensors, metadata, modules)
    except OSError as error:
        raise LoraError(f"cannot be read ({error.strerror})", file=path) from error


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    if not path.is_file():
        raise LoraError("is not a regular file", file=path)
    with path.open("rb") as stream:
        start = stream.read(9)
        length = int.from_bytes(start[:8], "little")
        if start[8:] != b"{":
            raise _not_safetensors(path, start)
        if length > MAX_HEADER:
            raise LoraError(f"claims a header of {length} bytes; at most {MAX_HEADER} are read", file=path)
        if length > size - 8:
            raise _truncated(path, 8 + length, size)
        stream.seek(8)
        text = stream.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except _TwiceError as error:
        raise LoraError("stands twice in the header", file=path, field=str(error)) from error
    except (ValueError, RecursionError) as error:
        raise LoraError("has a safetensors header that is not valid JSON", file=path) from error
    if not isinstance(header, dict):
        raise LoraError("has a safetensors header that is not a mapping", file=path)
    return header, size - 8 - length


class _TwiceError(ValueError):
    """A key that stands twice: two readers would see two files."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _TwiceError(name)
        found[name] = value
    return found


def _metadata(path: Path, metadata: Any) -> dict[str, str]:
    fix = "the safetensors format allows text by name only"
    if not isinstance(metadata, dict):
        found = f"is {type(metadata).__name__}, not a mapping"
        raise LoraError(found, file=path, field="__metadata__", fix=fix)
    if odd := [key for key, value in metadata.items() if not isinstance(value, str)]:
        found = f"is {type(metadata[odd[0]]).__name__}, not text"
        raise LoraError(found, file=path, field=f"__metadata__.{odd[0]}", fix=fix)
    return metadata


def _not_safetensors(path: Path, start: bytes) -> LoraError:
    if start.startswith((_ZIP, _PICKLE)):
        return LoraError(
            "is a pickle, which can run any code when loaded; it was not read",
            file=path,
            fix="use the .safetensors file that AI Toolkit wrote",
        )
    return LoraError(
        "is not a safetensors file", file=path, fix="it may be truncated, or a download page: copy it again"
    )


def _truncated(path: Path, expected: int, found: int) -> LoraError:
    return LoraError(
        f"is truncated: {found} bytes where its header needs {expected}", file=path, fix="copy it again"
    )


def _tensors(path: Path, header: dict[str, Any], data_bytes: int) -> dict[str, Tensor]:
    """Return the tensors in the order of their bytes, which must follow each other without gaps."""
    if len(header) > MAX_TENSORS:
        raise LoraError(f"lists {len(header)} tensors; at most {MAX_TENSORS} are read", file=path)
    spans = sorted((_span(path, key, entry) for key, entry in header.items()), key=lambda span: span[:2])
    place = 0
    for begin, end, key, _ in spans:
        if begin != place:
            raise LoraError("overlaps another tensor, or leaves a gap before it", file=path, field=key)
        place = end
    if place > data_bytes:
        raise _truncated(path, place, data_bytes)
    if place < data_bytes:
        raise LoraError(f"holds {data_bytes - place} bytes after its last tensor", file=path)
    return {key: tensor for _, _, key, tensor in spans}


def _span(path: Path, key: str, entry: Any) -> tuple[int, int, str, Tensor]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, ValueError, KeyError) as error:
        raise LoraError("has an unreadable header entry", file=path, field=key) from error
    if not isinstance(dtype, str) or not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise LoraError("has an unreadable header entry", file=path, field=key)
    if dtype not in _EXPONENTS:
        fix = "AI Toolkit saves LoRAs in " + ", ".join(_EXPONENTS)
        raise LoraError(f"is of dtype {dtype[:20]}", file=path, field=key, fix=fix)
    if end - begin != math.prod(shape) * int(_EXPONENTS[dtype][0][-1]):
        raise LoraError("has a shape that does not fit its bytes", file=path, field=key)
    return begin, end, key, Tensor(dtype, shape)


def _refuse_no_numbers(path: Path, tensors: Mapping[str, Tensor], start: int) -> None:
    """Look through the weights, which begin at byte ``start``, for NaN and infinity."""
    import numpy as np

    with path.open("rb") as stream:
        stream.seek(start)
        for key, tensor in tensors.items():
            layout, exponent = _EXPONENTS[tensor.dtype]
            left = math.prod(tensor.shape) * np.dtype(layout).itemsize
            while left:
                data = stream.read(min(left, _CHUNK))
                if not data:
                    raise LoraError("became shorter while it was read", file=path, fix="copy it again")
                left -= len(data)
                bits = np.frombuffer(data, layout)
                if ((bits & exponent) == exponent).any():
                    fix = "the training diverged: leave these steps out, or use an earlier checkpoint"
                    raise LoraError("holds weights that are NaN or infinite", file=path, field=key, fix=fix)


def _refuse_other_kinds(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if not tensors:
        raise LoraError("holds no tensors", file=path)
    if lokr := [key for key in tensors if ".lokr_" in key]:
        raise LoraError(
            f"is a LoKr file ({_some(lokr)}), which the reference pipeline cannot load",
            file=path,
            fix="train with network.type: lora",
        )
    if alphas := [key for key in tensors if key.endswith(".alpha")]:
        raise LoraError(
            f"holds alpha keys ({_some(alphas)}); AI Toolkit writes none for Flex.2, its scale is always 1",
            file=path,
            fix="use the file as AI Toolkit saved it",
        )
    if unknown := [key for key in tensors if not _KEY.fullmatch(key)]:
        raise LoraError(
            f"holds keys that would be ignored ({_some(unknown)})",
            file=path,
            fix="expected keys are transformer.<module>.lora_A.weight and .lora_B.weight",
        )


def _modules(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int, int]]:
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, tensor in tensors.items():
        if match := _KEY.fullmatch(key):
            halves.setdefault(match["module"], {})[match["side"]] = tensor.shape
    if lonely := [module for module, sides in halves.items() if len(sides) == 1]:
        raise LoraError(f"has only one of lora_A and lora_B for {_some(lonely)}", file=path)
    modules = {}
    for module, sides in halves.items():
        a, b = sides["A"], sides["B"]
        if len(a) != 2 or len(b) != 2 or a[0] != b[1] or 0 in (*a, *b):
            raise LoraError(
                f"has lora_A {list(a)} and lora_B {list(b)}, which are not [rank, in] and [out, rank]",
                file=path,
                field=module,
            )
        modules[module] = (a[0], a[1], b[0])
    return modules


def _some(names: Iterable[str], limit: int = 3) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more

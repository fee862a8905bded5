"""LoRA files of AI Toolkit, read from the safetensors header alone: no weights, no torch, nothing executed.

Key form and missing alpha: ``ostris/ai-toolkit``, ``toolkit/network_mixins.py``. Header layout: ``README.md``
of the safetensors project (8 bytes of little-endian length, then that much JSON).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import LoraError
from harness.files import sha256_file

MAX_HEADER = 100_000_000
"""Largest header in bytes that the safetensors format allows."""

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
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
    """Read the header of a LoRA file and check that every key in it is one that takes effect.

    Raises:
        LoraError: missing, a pickle (left unread), truncated, not safetensors, LoKr, with alpha keys, with
            keys of an unknown form, or with halves that do not fit.
    """
    try:
        header, data_bytes = _read_header(path)
        digest = sha256_file(path)
    except OSError as error:
        raise LoraError(f"cannot be read ({error.strerror})", file=path) from error
    metadata = _metadata(path, header.pop("__metadata__", None) or {})
    tensors = _tensors(path, header, data_bytes)
    _refuse_other_kinds(path, tensors)
    return LoraFile(path, digest, tensors, metadata, _modules(path, tensors))


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(9)
        length = int.from_bytes(start[:8], "little")
        if start[8:] != b"{":
            raise _not_safetensors(path, start)
        if length > MAX_HEADER:
            raise LoraError(f"claims a header of {length} bytes; the format allows {MAX_HEADER}", file=path)
        if length > size - 8:
            raise _truncated(path, 8 + length, size)
        stream.seek(8)
        text = stream.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoraError("has a safetensors header that is not valid JSON", file=path) from error
    if not isinstance(header, dict):
        raise LoraError("has a safetensors header that is not a mapping", file=path)
    return header, size - 8 - length


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
    tensors, end_of_data = {}, 0
    for key, entry in header.items():
        try:
            shape = tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            tensors[key] = Tensor(entry["dtype"], shape)
            fits = end - begin == math.prod(shape) * _BYTES[entry["dtype"]]
        except (TypeError, ValueError, KeyError) as error:
            raise LoraError("has an unreadable header entry", file=path, field=key) from error
        if not fits:
            raise LoraError("has a shape that does not fit its bytes", file=path, field=key)
        end_of_data = max(end_of_data, end)
    if end_of_data > data_bytes:
        raise _truncated(path, end_of_data, data_bytes)
    return tensors


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
        if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
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

"""Rows of weights out of safetensors and GGUF files, read without mapping: memory is that of the rows."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._util.mixed_up_files import why_no_file
from harness.errors import CheckpointError

if TYPE_CHECKING:
    import torch

MAX_HEADER = 100 << 20
"""Largest header that is read, in bytes, as the format itself has it."""

DTYPES = {"F32": (4, "float32"), "F16": (2, "float16"), "BF16": (2, "bfloat16")}
DTYPES |= {"F8_E4M3": (1, "float8_e4m3fn"), "F8_E5M2": (1, "float8_e5m2")}
"""Bytes of a number and torch's name of its type, by the format's name."""

_SHARD = re.compile(r"(?P<name>.+)-\d{5}-of-(?P<count>\d{5})\.safetensors")

_FIX = "give a safetensors or GGUF file of the transformer, or a folder in the hub's layout"


@dataclass(frozen=True)
class StoredWeight:
    """Where one tensor lies.

    Attributes:
        dtype: the format's name of its type.
        begin: its first byte in the file.
        block: weights of one block of a GGUF's type, and its bytes, 0 where unknown; None in safetensors.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    block: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; 0 where the type's size is not known."""
        weights, width = self.block or (1, DTYPES.get(self.dtype, (0, ""))[0])
        return math.prod(self.shape[1:]) // max(1, weights) * width


def stored_weights(base: Path) -> dict[str, StoredWeight]:
    """Return every tensor of a file, or of the transformer in a folder with its shards, from headers alone.

    Raises:
        CheckpointError: no such file or folder, no safetensors in it, or one that is not whole.
    """
    if base.is_dir():
        folder = base / "transformer" if (base / "transformer").is_dir() else base
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise CheckpointError("holds no *.safetensors", file=folder, field="--base", fix=_FIX)
        _refuse_missing_shards(folder, files)
    elif base.is_file():
        if is_gguf(base):
            from harness.precision.gguf_file import gguf_weights

            return gguf_weights(base)
        files = [base]
    else:
        raise CheckpointError(why_no_file(base), file=base, field="--base", fix=_FIX)
    found: dict[str, StoredWeight] = {}
    for file in files:
        found |= _header(file)
    return found


def is_gguf(base: Path) -> bool:
    """Say whether a file is GGUF, by its name or its first bytes."""
    if base.suffix.lower() == ".gguf":
        return True
    try:
        with base.open("rb") as stream:
            return stream.read(4) == b"GGUF"
    except OSError:
        return False


def _refuse_missing_shards(folder: Path, files: list[Path]) -> None:
    """Check that every file is there of those that are named as one of several."""
    found = {(match["name"], int(match["count"])) for file in files if (match := _SHARD.match(file.name))}
    for name, count in sorted(found):
        numbers = (f"{name}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1))
        if missing := [each for each in numbers if not (folder / each).is_file()]:
            lacks = f"lacks {len(missing)} of {count} files of the model ({missing[0]})"
            raise CheckpointError(lacks, file=folder, field="--base", fix="copy the whole folder")


def _header(file: Path) -> dict[str, StoredWeight]:
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(MAX_HEADER, size - 8):
                raise CheckpointError("is not a safetensors file, or truncated", file=file, fix=_FIX)
            entries = json.loads(stream.read(length))
        return {
            name: _stored(file, entry, 8 + length, size)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", file=file, fix=_FIX) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError("has a header that is not safetensors'", file=file, fix=_FIX) from error


def _stored(file: Path, entry: Any, start: int, size: int) -> StoredWeight:
    begin, end = entry["data_offsets"]
    shape = tuple(int(edge) for edge in entry["shape"])
    weight = StoredWeight(file, str(entry["dtype"]), shape, start + begin)
    known = DTYPES.get(weight.dtype)
    if begin < 0 or start + end > size or (known is not None and end - begin != weight.size * known[0]):
        raise CheckpointError("is truncated: its header names bytes that it has not", file=file, fix=_FIX)
    return weight


def require_known_type(weight: StoredWeight) -> None:
    """Check that a weight is of a type that is read.

    Raises:
        CheckpointError: it is not.
    """
    if not weight.row_bytes:
        fix = "audit reads " + ("what the gguf package unpacks" if weight.block else ", ".join(DTYPES))
        raise CheckpointError(f"is of dtype {weight.dtype}", file=weight.file, field="--base", fix=fix)


def read_rows(weight: StoredWeight, start: int, stop: int) -> torch.Tensor:
    """Return rows ``start`` to ``stop`` of a weight in its stored dtype; all of it where it has no rows.

    A GGUF's blocks are returned as what they mean, in fp32.

    Raises:
        CheckpointError: of a dtype that is not read, or the file became shorter.
    """
    import torch

    require_known_type(weight)
    data = torch.empty((stop - start) * weight.row_bytes, dtype=torch.uint8)
    with weight.file.open("rb", buffering=0) as stream:
        stream.seek(weight.begin + start * weight.row_bytes)
        if stream.readinto(data.numpy().data) != len(data):
            raise CheckpointError("became shorter while it was read", file=weight.file, fix="copy it again")
    if weight.dtype in DTYPES:
        return data.view(getattr(torch, DTYPES[weight.dtype][1])).view(stop - start, *weight.shape[1:])
    from harness.precision.gguf_file import unpacked

    return unpacked(weight, data.view(stop - start, weight.row_bytes))

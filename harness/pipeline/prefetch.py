"""Weights on their way to the GPU while the libraries that build the models are still imported.

A tensor that a library has mapped from a file is known by its place in that file, so that what was copied
from there can stand for it. Only Linux says what is mapped where; elsewhere nothing is prefetched.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from harness.pipeline.checkpoint import Checkpoint
from harness.pipeline.copying import copy_all
from harness.pipeline.load import reference_dtype, torch_dtype, unused_memory
from harness.pipeline.offload import choose_offload, needs
from harness.precision.weights_file import DTYPES, stored_weights
from harness.schema.render import Offload, RenderRequest
from harness.schema.spec import ModelSpec

MAPPINGS = Path("/proc/self/smaps")

_START = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ +(/.*)$")
_WRITTEN = re.compile(r"(?:Private_Dirty|Anonymous|Swap): +[1-9]")

Place = tuple[str, int]
"""A file's path, and the position of a tensor's first byte in it."""


class _Region(NamedTuple):
    """Addresses at which a file is mapped, from ``offset`` in the file on."""

    begin: int
    end: int
    offset: int
    file: str

    @classmethod
    def of(cls, found: tuple[str, ...]) -> _Region:
        begin, end, offset = (int(number, 16) for number in found[:3])
        return cls(begin, end, offset, found[3])


class Prefetch:
    """Copies of the weights that a first render needs on the GPU, made by a thread.

    Nothing is copied where weights are offloaded or stored in another dtype than they are rendered in. What
    cannot be read or does not fit is left out as well: loading says why.
    """

    def __init__(self, checkpoint: Checkpoint, request: RenderRequest, offload: Offload) -> None:
        self._placed: dict[Place, Tensor] = {}
        self._thread = threading.Thread(target=self._run, args=(checkpoint, request, offload), daemon=True)
        self._thread.start()

    def held(self) -> int:
        """Return the bytes that are copied and not taken yet."""
        self._thread.join()
        return sum(tensor.nbytes for tensor in self._placed.values())

    def take(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the copy of each tensor in main memory, or None where there is none; drop all others."""
        self._thread.join()
        found = stand_ins(self._placed, tensors)
        self._placed.clear()
        return found

    def _run(self, checkpoint: Checkpoint, request: RenderRequest, offload: Offload) -> None:
        try:
            mode = choose_offload(offload, needs(checkpoint, request.pixels), unused_memory())
            if mode == "none" and request.encoder_dtype is None:
                dtype = torch_dtype(request.dtype or reference_dtype("cuda"))
                self._placed = copies_of(weights_files(checkpoint.folder, request.spec), dtype, "cuda")
        except Exception:  # a file of any content, or a GPU without room: loading says it in its own words
            self._placed.clear()


_current: Prefetch | None = None


def begin(checkpoint: Checkpoint, request: RenderRequest, offload: Offload) -> None:
    """Begin to copy what ``request`` needs of ``checkpoint`` to the GPU; ``take`` ends it."""
    global _current  # noqa: PLW0603 - what a process loads next
    _current = Prefetch(checkpoint, request, offload)


def held() -> int:
    """Return the bytes of the GPU that are copied and not taken yet."""
    return _current.held() if _current is not None else 0


def take(tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the copy of each tensor in main memory, or None where there is none; drop all others."""
    global _current
    prefetch, _current = _current, None
    return prefetch.take(tensors) if prefetch is not None else [None] * len(tensors)


def weights_files(folder: Path, spec: ModelSpec) -> list[Path]:
    """Return the weights files of every model in ``folder``."""
    return [file for name in spec.models for file in sorted((folder / name).glob("*.safetensors"))]


def copies_of(files: Iterable[Path], dtype: torch.dtype, device: str) -> dict[Place, Tensor]:
    """Return a copy on ``device`` of every weight in ``files`` that is stored in ``dtype``, in one dimension.

    Raises:
        CheckpointError, OSError: a file cannot be read, or is not safetensors.
        RuntimeError: they do not fit.
    """
    placed: dict[Place, Tensor] = {}
    for file in files:
        pairs = {
            (str(file.resolve()), begin): (data, torch.empty(data.shape, dtype=dtype, device=device))
            for begin, data in _weights(file, dtype)
        }
        copy_all(pairs.values())
        placed |= {place: there for place, (_, there) in pairs.items()}
    return placed


def stand_ins(placed: Mapping[Place, Tensor], tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """Return for each tensor in main memory the one of ``placed`` that was copied from the same place."""
    places = _unwritten(tensors, {file for file, _ in placed}) if placed else {}
    copies = [placed.get(places[id(tensor)]) if id(tensor) in places else None for tensor in tensors]
    return [
        copy.view(tensor.shape)
        if copy is not None and copy.dtype == tensor.dtype and copy.numel() == tensor.numel()
        else None
        for tensor, copy in zip(tensors, copies, strict=True)
    ]


def _weights(file: Path, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
    """Yield position and data of every weight of ``dtype`` in a safetensors file, which is mapped."""
    mapped = torch.from_file(str(file), size=file.stat().st_size, dtype=torch.uint8)
    for weight in stored_weights(file).values():
        known = weight.dtype in DTYPES and getattr(torch, DTYPES[weight.dtype][1]) == dtype
        if known and weight.size and weight.begin % dtype.itemsize == 0:
            yield weight.begin, mapped[weight.begin :][: weight.size * dtype.itemsize].view(dtype)


def _unwritten(tensors: Iterable[Tensor], files: Container[str]) -> dict[int, Place]:
    """Return, by id, the place of tensors that lie in one of ``files``, mapped and never written to."""
    regions, found = [region for region in _regions() if region.file in files], {}
    for tensor in tensors:
        address = tensor.data_ptr()
        for region in regions:
            if region.begin <= address < region.end:
                found[id(tensor)] = (region.file, region.offset + address - region.begin)
    return found


def _regions() -> Iterator[_Region]:
    """Yield what is mapped of files in this process, and was never written to."""
    try:
        lines = MAPPINGS.read_text().splitlines()
    except OSError:
        return
    region, written = None, False
    for line in [*lines, "0-0 end"]:
        if _START.match(line):
            if region is not None and not written:
                yield region
            mapped = _MAPPING.match(line)
            region, written = _Region.of(mapped.groups()) if mapped is not None else None, False
        elif _WRITTEN.match(line):
            written = True

"""Weights on their way to the GPU while the libraries that build the models are still imported.

A tensor that a library has mapped from a file is known by its place in that file, so that what was copied
from there can stand for it (``mapped_files``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from harness._util.real_paths import real_path
from harness.pipeline.checkpoint import Checkpoint
from harness.pipeline.copying import copy_all
from harness.pipeline.load import reference_dtype, torch_dtype, unused_memory
from harness.pipeline.mapped_files import Place, unwritten_places
from harness.pipeline.offload import choose_offload, needs
from harness.precision.weights_file import DTYPES, stored_weights
from harness.schema.render import Offload, RenderRequest


class Prefetch:
    """Copies of the weights that a first render needs on the GPU, made by a thread.

    Nothing is copied of weights that are offloaded or stored in another dtype than they are rendered in. What
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
            models = first_models(request, mode)
            dtype = torch_dtype(request.dtype or reference_dtype("cuda"))
            self._placed = copies_of(weights_files(checkpoint.folder, models), dtype, "cuda")
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


def first_models(request: RenderRequest, mode: Offload) -> list[str]:
    """Return the models whose weights go to the GPU as they are stored, and stay there."""
    spec = request.spec
    if mode == "model":
        return [name for name in spec.models if name not in spec.text_encoders]
    return list(spec.models) if mode == "none" and request.encoder_dtype is None else []


def weights_files(folder: Path, models: Iterable[str]) -> list[Path]:
    """Return the weights files of ``models`` in ``folder``."""
    return [file for name in models for file in sorted((folder / name).glob("*.safetensors"))]


def copies_of(files: Iterable[Path], dtype: torch.dtype, device: str) -> dict[Place, Tensor]:
    """Return a copy on ``device`` of every weight in ``files`` that is stored in ``dtype``, in one dimension.

    Raises:
        CheckpointError, OSError: a file cannot be read, or is not safetensors.
        RuntimeError: they do not fit.
    """
    placed: dict[Place, Tensor] = {}
    for file in files:
        pairs = {
            (str(real_path(file)), begin): (data, torch.empty(data.shape, dtype=dtype, device=device))
            for begin, data in _weights(file, dtype)
        }
        copy_all(pairs.values())
        placed |= {place: there for place, (_, there) in pairs.items()}
    return placed


def stand_ins(placed: Mapping[Place, Tensor], tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """Return for each tensor in main memory the one of ``placed`` that was copied from the same place."""
    places = unwritten_places(tensors, {file for file, _ in placed}) if placed else {}
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

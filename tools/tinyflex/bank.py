"""Stage 2: the bank, all training scenes with their token ids and encoded latents."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .components import Tokenizers
from .compose import Compositor
from .icons import Noun
from .scenes import SceneMaker, Scenes

T5_SHORT = 24
CLIP_SHORT = 40
_CHUNK = 4096

Chunk = tuple[Scenes, Any, Any]


@dataclass
class Bank:
    """Scenes with token ids (int16) and, once encoded, packed latents (N × 64 × 64, normalised)."""

    scenes: Scenes
    t5_ids: Tensor
    clip_ids: Tensor
    latents: Tensor | None = None


def _make_chunk(nouns: tuple[Noun, ...], tokenizers: Path, seed: int, count: int) -> Chunk:
    scenes = SceneMaker(nouns, seed).make(count)
    return scenes, *Tokenizers(tokenizers).encode(scenes.captions, T5_SHORT, CLIP_SHORT)


class BankMaker:
    """Makes scenes in worker processes while the caller trains something else."""

    def __init__(self, nouns: tuple[Noun, ...], tokenizers: Path, count: int, workers: int) -> None:
        seeds = range(0, count, _CHUNK)
        jobs = [(nouns, tokenizers, 1000 + i, min(_CHUNK, count - start)) for i, start in enumerate(seeds)]
        self._first = _make_chunk(*jobs[0])
        self._pool: ProcessPoolExecutor | None = None
        if len(jobs) > 1:
            self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
            self._rest = [self._pool.submit(_make_chunk, *job) for job in jobs[1:]]

    def first(self) -> Scenes:
        """Return the first chunk's scenes, ready at once."""
        return self._first[0]

    def finish(self) -> Bank:
        """Wait for every chunk and return the bank without latents."""
        chunks: list[Chunk] = [self._first]
        if self._pool is not None:
            chunks += [future.result() for future in self._rest]
            self._pool.shutdown()
        return _join(chunks)


def _join(chunks: Sequence[Chunk]) -> Bank:
    parts = [chunk[0] for chunk in chunks]
    scenes = Scenes(
        icons=np.concatenate([part.icons for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        colours=np.concatenate([part.colours for part in parts]),
        patterns=np.concatenate([part.patterns for part in parts]),
        captions=[caption for part in parts for caption in part.captions],
    )
    t5 = torch.from_numpy(np.concatenate([chunk[1] for chunk in chunks]))
    clip = torch.from_numpy(np.concatenate([chunk[2] for chunk in chunks]))
    return Bank(scenes, t5, clip)


def pack(latents: Tensor) -> Tensor:
    """Fold B × 16 × h × w latents into B × (h/2 · w/2) × 64 tokens, as Flux packs them."""
    batch, channels, height, width = latents.shape
    latents = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return latents.reshape(batch, height // 2 * (width // 2), channels * 4)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo :func:`pack` for latents of the given height and width."""
    tokens = tokens.view(tokens.shape[0], height // 2, width // 2, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return tokens.reshape(tokens.shape[0], -1, height, width)


@torch.no_grad()
def encode_bank(bank: Bank, vae: Any, compositor: Compositor, device: str, batch: int = 512) -> None:
    """Draw and encode every scene; latents stay on the device in bf16 on a GPU, fp32 on the CPU."""
    kept = torch.bfloat16 if device == "cuda" else torch.float32
    parts = []
    for rows in torch.arange(len(bank.scenes.captions)).split(batch):
        pictures = compositor.draw(bank.scenes, rows)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            mean = vae.encode(pictures).latent_dist.mean
        mean = (mean.float() - vae.config.shift_factor) * vae.config.scaling_factor
        parts.append(pack(mean.contiguous()).to(kept))
    bank.latents = torch.cat(parts)
    bank.t5_ids, bank.clip_ids = bank.t5_ids.to(device), bank.clip_ids.to(device)

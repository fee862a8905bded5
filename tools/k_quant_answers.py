"""Write tests/data/k_quants.npz: what ggml makes of hard weights, by which tests judge our K-quants.

Beside it stands what diffusers, as ComfyUI-GGUF does, unpacks of ggml's bits in fp16 and in bf16
(``pip install gguf``).

    pip download --no-deps -d wheel pywhispercpp==1.5.1 && unzip -d wheel wheel/*.whl
    python tools/k_quant_answers.py wheel/pywhispercpp.libs/libggml-base-*.so.0.13.1
    python tools/k_quant_answers.py wheel/pywhispercpp.libs/libggml-base-*.so.0.13.1 --compare 16

The wheel is for x86-64; it recognises speech, and brings ggml as a library of its own. ``--compare`` writes
nothing: it quantizes so many million random weights of each type both ways and counts those that differ. Any
library that has ``ggml_quantize_chunk`` will do. Exit code 1 where some differ.
"""

from __future__ import annotations

import argparse
import ctypes
from pathlib import Path

import numpy as np
import torch

from harness.precision.k_quants import BLOCK, K_QUANTS, k_quant

FILE = Path(__file__).resolve().parent.parent / "tests" / "data" / "k_quants.npz"
TYPES = {"Q2_K": (10, 84), "Q3_K": (11, 110), "Q4_K": (12, 144), "Q5_K": (13, 176), "Q6_K": (14, 210)}
"""Number of each type and bytes of its block, as ggml has them."""
ROWS, COLUMNS = 1024, 1024


class Ggml:
    """ggml's library, which quantizes and unpacks."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.ggml_quantize_chunk.restype = ctypes.c_size_t

    def blocks(self, weights: np.ndarray, kind: str) -> np.ndarray:
        """Return the bytes that ``weights``, fp32, are stored as: blocks × bytes of a block."""
        number, width = TYPES[kind]
        blocks = np.empty((weights.size // BLOCK, width), np.uint8)
        source, target = (ctypes.c_void_p(each.ctypes.data) for each in (weights, blocks))
        rows, columns = (ctypes.c_int64(each) for each in weights.shape)
        size = self._library.ggml_quantize_chunk(
            number, source, target, ctypes.c_int64(0), rows, columns, None
        )
        assert size == blocks.size
        return blocks

    def stored(self, weights: np.ndarray, kind: str) -> np.ndarray:
        """Return what the bits of ``weights``, fp32, mean once they are stored."""
        blocks, made = self.blocks(weights, kind), np.empty_like(weights)
        unpack = getattr(self._library, f"dequantize_row_{kind.lower().replace('k', 'K')}")
        source, end = (ctypes.c_void_p(each.ctypes.data) for each in (blocks, made))
        unpack(source, end, ctypes.c_int64(weights.size))
        return made

    def unpacked(self, weights: np.ndarray, kind: str, dtype: torch.dtype) -> np.ndarray:
        """Return what diffusers unpacks of ``stored`` in ``dtype``: fp16, or fp32 for what numpy has not."""
        from diffusers.quantizers.gguf.utils import dequantize_functions

        number, width = TYPES[kind]
        blocks = torch.from_numpy(self.blocks(weights, kind))
        made = dequantize_functions[number](blocks, BLOCK, width, dtype)
        return (made if dtype is torch.float16 else made.float()).numpy().reshape(weights.shape)


def hard_weights() -> np.ndarray:
    """Return rows of one block: usual weights, outliers, ties, equal groups, one sign, zeros, extremes."""
    random = np.random.default_rng(1)

    def normal(rows: int) -> np.ndarray:
        return random.standard_normal((rows, BLOCK))

    made = [
        normal(8) * 0.02,
        random.standard_t(2, (8, BLOCK)) * 0.01,
        normal(6) * np.repeat(10.0 ** random.uniform(-6, 1, (6, 16)), 16, axis=1),
        normal(16) * np.logspace(-42, 4, 16)[:, None],
        np.abs(normal(3)) + random.uniform(-1, 1, (3, 1)),
        np.repeat(normal(3)[:, :16], 16, axis=1),
        np.repeat(normal(3)[:, :8], 32, axis=1),
        normal(5) * (random.random((5, BLOCK)) < 0.05),
        random.integers(-3, 4, (5, BLOCK)) * 0.1,
        random.integers(-2, 3, (5, BLOCK)) * 0.25,
        1 + normal(1) * 1e-6,
        -1 + normal(1) * 1e-6,
        np.zeros((1, BLOCK)),
    ]
    return np.ascontiguousarray(np.concatenate(made), np.float32)


def compare(ggml: Ggml, millions: int) -> bool:
    """Print how many of so many million weights differ, and return whether none does."""
    random = np.random.default_rng(99)
    different = dict.fromkeys(K_QUANTS, 0)
    for number in range(millions):
        draw = random.standard_normal if number % 2 else random.laplace
        weights = (draw(size=(ROWS, COLUMNS)) * 0.02 * np.exp(random.normal(size=(ROWS, 1)))).astype(
            np.float32
        )
        if number % 4 > 1:
            weights = torch.from_numpy(weights).bfloat16().float().numpy()
        for kind in K_QUANTS:
            made = k_quant(torch.from_numpy(weights), kind).numpy()
            different[kind] += int((made != ggml.stored(weights, kind)).sum())
    for kind, count in different.items():
        print(f"{kind}: {count} of {millions * ROWS * COLUMNS} weights differ")
    return not any(different.values())


def main() -> int:
    """Write the file, or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path, help="libggml-base")
    parser.add_argument("--compare", type=int, metavar="MILLIONS", help="compare random weights instead")
    chosen = parser.parse_args()
    ggml = Ggml(chosen.library)
    if chosen.compare is not None:
        return 0 if compare(ggml, chosen.compare) else 1
    weights = hard_weights()
    answers = {kind: ggml.stored(weights, kind) for kind in K_QUANTS}
    for name, dtype in {"fp16": torch.float16, "bf16": torch.bfloat16}.items():
        answers |= {f"{kind} in {name}": ggml.unpacked(weights, kind, dtype) for kind in K_QUANTS}
    np.savez_compressed(FILE, weights=weights, **answers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

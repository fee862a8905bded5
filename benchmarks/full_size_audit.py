"""What `harness audit` costs at full size: memory and time against one read of the file, and what survives.

    python benchmarks/full_size_audit.py FOLDER [--quantize NAME ...] [--rows N ...] [--device NAME ...]
        [--pieces THREADS,WEIGHTS ...]

Writes a random base of Flex.2's real shape (one 16 GB safetensors file) and a random rank-32 LoRA of every
layer of the blocks to FOLDER, unless they are there; then audits, cold, each time after one cold read of the
base: every row, and a sample of rows. Prints what ``harness audit -v`` says of its stages, too. Random
weights: bits, shares and costs mean something, pictures would not. ``--pieces`` tries other numbers of
threads, and of weights in one piece, than the audit's own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import torch
from make_full_size import transformer

RANK, SEED, PIECE, READERS = 32, 0, 64 << 20, 8
WEIGHT_STD, CHANGE = 0.02, 0.02
"""Of the base's weights, and of the LoRA's change as a share of it: that of a usual LoRA of rank 32."""


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight, without making one."""
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in transformer(layers).named_parameters()}


def lora_shapes(base: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield A and B of every linear layer of the blocks."""
    for name, shape in base.items():
        if "transformer_blocks." in name and len(shape) == 2:
            module = f"transformer.{name.removesuffix('.weight')}"
            yield f"{module}.lora_A.weight", (RANK, shape[1])
            yield f"{module}.lora_B.weight", (shape[0], RANK)


def write(file: Path, tensors: dict[str, tuple[int, ...]], spread: float) -> None:
    """Write random bf16 tensors, one after the other, never all of them in memory."""
    header, offset = {}, 0
    for name, shape in tensors.items():
        size = 2 * int(torch.tensor(shape).prod())
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(SEED)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for shape in tensors.values():
            made = torch.randn(shape, device=device, generator=generator).mul_(spread).bfloat16()
            out.write(made.cpu().view(torch.uint8).flatten().numpy())


def drop_from_cache(file: Path) -> None:
    """Ask the kernel to forget the file's pages, so that the next read is from the disk."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_once(file: Path) -> float:
    """Return the seconds that reading the whole file takes with a few threads, and nothing else."""

    def read(start: int) -> int:
        with file.open("rb", buffering=0) as stream:
            stream.seek(start)
            return len(stream.read(PIECE))

    started = time.perf_counter()
    with ThreadPoolExecutor(READERS) as readers:
        total = sum(readers.map(read, range(0, file.stat().st_size, PIECE)))
    assert total == file.stat().st_size
    return time.perf_counter() - started


IN_ITS_PROCESS = """
import sys
from pathlib import Path
from harness.cli import main
from harness.precision import audit, row_blocks
pieces = sys.argv.pop(1)
if pieces:
    threads, weights = map(int, pieces.split(","))
    for each in audit.MAX_THREADS:
        audit.MAX_THREADS[each], row_blocks.MAX_BLOCK[each] = threads, weights
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print("peak", status.split("VmHWM:")[1].split()[0], file=sys.stderr)
"""
"""The command, and then its largest resident memory in kB; that of a child counts what its parent had."""


def audit(
    lora: Path, base: Path, rows: int, quantizers: list[str], device: str, pieces: str
) -> tuple[float, str]:
    """Return the command's seconds, and in words what it used, its stages, and what it printed."""
    names = [word for name in quantizers for word in ("--quantize", name)]
    arguments = ["audit", str(lora), "--base", str(base), "--rows", str(rows), "--device", device, *names]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", IN_ITS_PROCESS, pieces, *arguments, "-v"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    stages, _, peak = done.stderr.rpartition("peak ")
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    faults = (after.ru_minflt - before.ru_minflt) / 1e6
    used = f"processors {user:.1f} s of user and {system:.1f} s of system, {faults:.2f} M page faults"
    used = f"{used}, {int(peak) / 1e6:.2f} GB at most"
    said = "".join(f"  {line.partition(': ')[2]}\n" for line in stages.splitlines() if " harness." in line)
    return seconds, f"{used}\n{said}{done.stdout}"


def main() -> None:
    """Write what is missing, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=38, help="at most so many blocks of each kind")
    parser.add_argument("--quantize", action="append", help="default: fp8_e4m3fn, qfloat8, int8, nf4")
    parser.add_argument("--device", action="append", help="auto, cpu or cuda; again for more; default: auto")
    parser.add_argument("--rows", type=int, action="append", help="of each layer; default: 0 (all), then 256")
    parser.add_argument("--pieces", action="append", help="as in 8,4194304; again for more")
    parser.add_argument("--again", type=int, default=1, help="how often each is measured")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    base, lora = options.folder / "base.safetensors", options.folder / "lora.safetensors"
    tensors = shapes(options.layers)
    if not base.exists():
        write(base, tensors, WEIGHT_STD)
        write(lora, dict(lora_shapes(tensors)), (WEIGHT_STD * CHANGE / RANK**0.5) ** 0.5)
    sizes = f"base {base.stat().st_size / 1e9:.1f} GB, LoRA {lora.stat().st_size / 1e6:.0f} MB"
    print(f"{sizes}, {os.cpu_count()} cores")
    quantizers = options.quantize or ["fp8_e4m3fn", "qfloat8", "int8", "nf4"]
    wanted = options.rows or [0, 256]
    runs = [(rows, quantizers) for rows in wanted]
    alone = [(0, ["fp8_e4m3fn"])] if 0 in wanted and quantizers != ["fp8_e4m3fn"] else []
    for rows, names in [*alone, *runs]:
        read = f"{rows} rows of each layer" if rows else "every row"
        what = f"{read}, {', '.join(names)}"
        for device, pieces, _ in product(
            options.device or ["auto"], options.pieces or [""], range(options.again)
        ):
            drop_from_cache(base)
            once = read_once(base)
            print(f"\none read of the file: {once:.2f} s ({base.stat().st_size / once / 1e9:.1f} GB/s)")
            drop_from_cache(base)
            seconds, said = audit(lora, base, rows, names, device, pieces)
            how = f"{device}, pieces {pieces}" if pieces else device
            print(f"{what}, {how}: {seconds:.2f} s, {seconds / once:.2f} × one read, {said}", flush=True)


if __name__ == "__main__":
    main()

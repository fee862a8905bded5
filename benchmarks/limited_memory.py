"""One case within a limit of GPU memory and without it, in fresh processes: seconds, memory, bits.

    python benchmarks/limited_memory.py FOLDER [--gib 24] [--size 1024] [--rounds 2]

Makes a random-weight base and a job with grey previews in FOLDER, unless they are there. Prints a line for
each run, and the quotient of the fastest two.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from first_verdict import Gpu, harness, row_of, run, timed

HERE = Path(__file__).parent.resolve()

LIMITED = """
import sys, torch
limit = float(sys.argv.pop(1)) * 2**30
torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.mem_get_info()[1])
from harness.cli import main
main()
"""


def prepare(folder: Path, size: int) -> Path:
    """Write base, job and cases, unless they are there; return the case of the trained step."""
    source, log = HERE.parent, folder / "log.txt"
    base, job, cases = folder / "base", folder / f"grey-{size}", folder / f"cases-grey-{size}"
    if not base.exists():
        with timed("the base is written", {}):
            run(sys.executable, HERE / "make_full_size.py", base, source=source, log=log)
    if not cases.exists():
        run(sys.executable, HERE / "make_job.py", base, job, "--size", size, "--every-layer", "--blank",
            source=source, log=log)  # fmt: skip
        harness("import", job, "--out", cases, source=source, log=log)
    return cases / "000000100_0.case.yaml"


def one(case: Path, out: Path, gib: float | None) -> tuple[float, str]:
    """Run the case, within ``gib`` where given; print what it took; return seconds and the image's hash."""
    source, log, gpu = HERE.parent, out.with_suffix(".txt"), Gpu()
    arguments = ("run", case, "--fresh", "--out", out)
    began = time.perf_counter()
    with timed("without a limit" if gib is None else f"within {gib:g} GiB", {}) as result:
        if gib is None:
            result["exit"] = harness(*arguments, source=source, log=log)
        else:
            result["exit"] = run(sys.executable, "-c", LIMITED, gib, *arguments, source=source, log=log)
        seconds = time.perf_counter() - began
        row = row_of(out)
        result.update(row["seconds"])
        result["offload"] = row["rendered"]["offload"]
        result["GPU"] = gpu.close().rpartition("; ")[2]
    told = [line for line in log.read_text().splitlines() if "GiB" in line]
    print(f"{'':4}{' '.join(told[-1:])}", flush=True)
    return seconds, row["image_sha256"]


def main() -> None:
    """Run alternately, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=float, default=24, help="the limit")
    parser.add_argument("--size", type=int, default=1024, help="pixels")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    case = prepare(folder, options.size)
    found: dict[Any, list[float]] = {None: [], options.gib: []}
    images = set()
    for number in range(options.rounds):
        for gib, seconds in found.items():
            took, image = one(case, folder / f"limit-{gib}-{number}", gib)
            seconds.append(took)
            images.add(image)
    quotient = min(found[options.gib]) / min(found[None])
    print(f"{quotient:.2f} of the time without a limit; the images have {len(images)} hash(es)", flush=True)


if __name__ == "__main__":
    main()

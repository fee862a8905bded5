"""How long an import of a large job takes, first and again, and the most memory that it holds.

    python benchmarks/import_job.py [--against FOLDER]

Makes a job of 1,000 previews of 1024² and 20 checkpoints of 22 MiB in a temporary folder and imports it in
fresh processes, this build and the one in ``--against`` in turn, three times each; prints the best of each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).parents[1]
STEPS, SAMPLES, REPEATS = 20, 50, 3

RUN = """
import re, sys, time
from pathlib import Path
from harness import import_job
started, spent = time.perf_counter(), time.process_time()
result = import_job(Path(sys.argv[1]), out=Path(sys.argv[2]))
assert len(result.cases) == 1000, len(result.cases)
# not ru_maxrss, which begins with what the parent process held
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(time.perf_counter() - started, time.process_time() - spent, peak)
"""


def make_job(folder: Path) -> Path:
    """Write the job: random pictures that JPEG compresses as photographs do, and LoRAs of random weights."""
    job = folder / "large"
    (job / "samples").mkdir(parents=True)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (64, 64, 3), np.uint8)
    for step in range(STEPS):
        for index in range(SAMPLES):
            small = np.roll(small, 7, axis=index % 2)
            name = f"{1760000000000 + (step * SAMPLES + index) * 1000}__{(step + 1) * 100:09d}_{index}.jpg"
            Image.fromarray(small).resize((1024, 1024), Image.Resampling.BICUBIC).save(job / "samples" / name)
        save_lora(job / f"large_{(step + 1) * 100:09d}.safetensors", (step + 1) * 100, rng)
    process = {
        "type": "sd_trainer",
        "network": {"type": "lora", "linear": 16, "linear_alpha": 16},
        "save": {"save_every": 100},
        "train": {"steps": STEPS * 100, "dtype": "bf16"},
        "model": {"name_or_path": "ostris/Flex.2-preview", "arch": "flex2"},
        "sample": {"sample_every": 100, "width": 1024, "height": 1024, "seed": 42, "walk_seed": True,
                   "prompts": [f"a photo of sks number {n}" for n in range(SAMPLES)]},
    }  # fmt: skip
    config = {"job": "extension", "config": {"name": "large", "process": [process]}}
    (job / "config.yaml").write_text(json.dumps(config))
    os.utime(job / "config.yaml", (1750000000, 1750000000))
    return job


def save_lora(path: Path, step: int, rng: np.random.Generator) -> None:
    """Write a LoRA of rank 16 on every attention of the single blocks."""
    tensors = {}
    for block in range(38):
        for part in ("to_q", "to_k", "to_v"):
            name = f"transformer.single_transformer_blocks.{block}.attn.{part}"
            tensors[f"{name}.lora_A.weight"] = rng.normal(size=(16, 3072)).astype(np.float16)
            tensors[f"{name}.lora_B.weight"] = rng.normal(size=(3072, 16)).astype(np.float16)
    metadata = {
        "training_info": json.dumps({"step": step, "epoch": 0}),
        "software": json.dumps({"name": "ai-toolkit", "version": "0.12.26"}),
    }
    save_file(tensors, path, metadata)


def measure(build: Path, job: Path, out: Path) -> tuple[float, float, float]:
    """Return (seconds, processor seconds, MiB at most) of one import in a fresh process of ``build``."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(job), str(out)],
        env=os.environ | {"PYTHONPATH": str(build), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True, cwd=job.parent,
    )  # fmt: skip
    wall, spent, peak = map(float, done.stdout.split())
    return wall, spent, peak


def main() -> None:
    """Measure both builds in turn and print the best of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="another build, side by side")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    options = parser.parse_args()
    builds = {"this build": HERE} | ({"against": options.against} if options.against else {})
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        job = make_job(Path(folder))
        best: dict[tuple[str, str], tuple[float, float, float]] = {}
        for _ in range(REPEATS):
            for name, build in builds.items():
                out = Path(folder) / "cases"
                shutil.rmtree(out, ignore_errors=True)
                for which in ("first", "again"):
                    found = measure(build, job, out)
                    old = best.get((name, which), found)
                    best[name, which] = tuple(map(min, old, found))  # type: ignore[assignment]
                    time.sleep(0.2)
        for (name, which), (wall, spent, peak) in best.items():
            print(f"{name:12} {which:6} {wall:7.2f} s  {spent:7.2f} s of processor  {peak:6.0f} MiB")


if __name__ == "__main__":
    main()

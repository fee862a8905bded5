"""What a sweep spends before its first render: imports, then the checks of its files, at full size.

    python benchmarks/start.py [--rank 448] [--all-packages]

The base has the real shape and holds no data (sparse files: what is checked of weights are names, sizes and
samples); the LoRA is really as large as it says, and the preview is 1024². Nothing is rendered. Libraries are
imported as a command does; ``--all-packages``: with all that they find, as in somebody's own process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from harness._util.lean_imports import lean_imports, own_process

MODULES = (
    "torch", "diffusers.schedulers", "diffusers.pipelines.flux.pipeline_flux", "harness.pipeline.renderer",
    "harness.metrics.lpips_network", "skimage.metrics", "harness.sweeps.sweep",
)  # fmt: skip


def main() -> None:
    """Print the seconds of every import and of the checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rank", type=int, default=448, help="448: a LoRA of 176 MB")
    parser.add_argument("--all-packages", action="store_true")
    options = parser.parse_args()
    with nullcontext() if options.all_packages else own_process(), lean_imports():
        began = time.process_time()
        for name in MODULES:
            told(f"import {name}", lambda name=name: importlib.import_module(name))
        print(f"all imports: of the processor {time.process_time() - began:.2f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), options.rank)


def told(what: str, do: Callable[[], Any]) -> Any:
    """Return what ``do`` returns; print how long it took."""
    began, spent = time.perf_counter(), time.process_time()
    found = do()
    wall, spent = time.perf_counter() - began, time.process_time() - spent
    print(f"{what}: {wall:.2f} s, of the processor {spent:.2f} s, {len(sys.modules)} modules", flush=True)
    return found


def check(work: Path, rank: int) -> None:
    """Plan and check a sweep of 49 renders of one case."""
    from against_reference import settings

    from harness.runs.plan import RunOptions
    from harness.runs.preflight import Preflight
    from harness.sweeps.sweep import plan_sweep

    case = write_case(work, rank)
    run = RunOptions(device="cpu")
    variants = [variant for variant, _, _ in settings(4, 12)]
    planned = told("plan", lambda: plan_sweep([case], variants, run, "cpu"))
    told("checks before 1 render", lambda: Preflight().check(planned[:1], run))
    told(f"checks before {len(planned)} renders", lambda: Preflight().check(planned, run))


def write_case(work: Path, rank: int) -> Any:
    """Write a base, a LoRA and a preview; return the case of all three."""
    from make_job import random_lora
    from PIL import Image

    from harness._util.atomic_files import sha256_file
    from harness.schema.base import Base
    from harness.schema.case import Case, save_case
    from harness.schema.case_parts import LoraRef, Preview, SampleSettings

    base, lora, preview = work / "base", work / "lora.safetensors", work / "preview.jpg"
    write_base(base)
    random_lora(base, lora, rank, 1)
    Image.effect_noise((1024, 1024), 50).convert("RGB").save(preview)
    size = sum(file.stat().st_size for file in base.rglob("*.safetensors"))
    print(f"LoRA {lora.stat().st_size / 1e6:.0f} MB, base {size / 1e9:.1f} GB", flush=True)
    case = Case(
        id="start/case",
        base=Base(path=str(base)),
        preview=Preview(file=preview.name, sha256=sha256_file(preview), width=1024, height=1024),
        lora=LoraRef(file=lora.name, sha256=sha256_file(lora)),
        settings=SampleSettings(
            prompt="a test", width=1024, height=1024, seed=1, sample_steps=25, guidance_scale=4.0
        ),
    )
    return save_case(case, work / "case.case.yaml")


def write_base(folder: Path) -> None:
    """Write a base of the real shape whose weights are holes."""
    import make_full_size
    import torch

    shutil.copytree(make_full_size.TINY, folder)
    layers = make_full_size.LAYERS
    with torch.device("meta"):
        parts = {
            "transformer": make_full_size.transformer(layers),
            "text_encoder_2": make_full_size.t5(layers),
        }
    for name, model in parts.items():
        for file in (folder / name).glob("*.safetensors"):
            file.unlink()
        write_holes(folder / name / "model.safetensors", model.state_dict())
    parts["transformer"].save_config(folder / "transformer")


def write_holes(file: Path, weights: dict[str, Any]) -> None:
    """Write a bf16 safetensors file of these names and shapes, without its data."""
    entries, place = {}, 0
    for key, weight in weights.items():
        end = place + 2 * weight.numel()
        entries[key] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [place, end]}
        place = end
    header = json.dumps(entries).encode()
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + place)


if __name__ == "__main__":
    main()

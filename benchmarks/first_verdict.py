"""From command to verdict at full size: the plain script, an older build and this one, side by side.

    python benchmarks/first_verdict.py FOLDER --old CHECKOUT [--size 1024] [--stages STAGE,STAGE …]

Makes a random-weight base and jobs in FOLDER, unless they are there. Each stage prints a line as soon as
it has a figure:

    one         one case, a fresh process: plain.py, the old build, this one, alternately (--rounds)
    variants    twelve guidance scales of one case by `harness sweep`; the share that the GPU was busy
    warm        `harness serve`, then one case again and again; another multiplier; another guidance scale
    diagnosis   previews whose settings were recorded wrong: guidance, multiplier, seed, static shift
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent.resolve()
WRONG: dict[str, dict[str, Any]] = {
    "guidance": {"guidance_scale": 7.0},
    "multiplier": {"network_multiplier": 0.8},
    "seed": {"seed": 43},
    "static": {"static_shift": 3.0},
}
"""What the previews of each job are really made with; the job records guidance 4, multiplier 1, seed 42."""

GUIDANCE = "1,2,3,4,5,6,7,8,9,10,11,12"


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


@contextmanager
def timed(what: str, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Print how long the block took, with what it adds to ``result``."""
    began = time.perf_counter()
    yield result
    said = "  ".join(f"{name} {value}" for name, value in result.items())
    say(f"{what:34} {time.perf_counter() - began:7.1f} s  {said}")


def run(*command: object, source: Path, log: Path) -> int:
    """Run ``command`` with the harness of ``source``; return its exit code, its output goes to ``log``."""
    path = os.pathsep.join([str(source), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    with log.open("ab") as out:
        return subprocess.run(
            [str(part) for part in command],
            stdout=out, stderr=subprocess.STDOUT, cwd=log.parent, env={**os.environ, "PYTHONPATH": path},
            check=False,
        ).returncode  # fmt: skip


def harness(*arguments: object, source: Path, log: Path) -> int:
    """Run a command of the harness in a fresh process."""
    return run(sys.executable, "-m", "harness", *arguments, source=source, log=log)


def prepare(folder: Path, size: int, builds: dict[str, Path]) -> None:
    """Write base, jobs and each build's cases, unless they are there."""
    from harness.pipeline.noise import torch_era

    base = folder / "base"
    if not base.exists():
        with timed("the base is written", {}):
            run(sys.executable, HERE / "make_full_size.py", base, source=HERE.parent, log=folder / "log.txt")
    if not (folder / f"job-{size}").exists():
        with timed("previews are rendered", {}):
            write_jobs(folder, base, size)
    for source in builds.values():
        for name in ("", *(f"-{name}" for name in WRONG)):
            cases = case_file(folder, size, source, name).parent
            if cases.exists():
                continue
            harness("import", folder / f"job-{size}{name}", "--out", cases, source=source,
                    log=folder / "log.txt")  # fmt: skip
            for file in cases.glob("*.case.yaml"):  # drawn here
                file.write_text(file.read_text().replace("noise: auto", f"noise: {torch_era()}"))


def write_jobs(folder: Path, base: Path, size: int) -> None:
    """Write a job that recorded what was rendered, and for each of WRONG one that did not."""
    from make_job import PROMPTS, SEED, STEPS, random_lora, write_config

    from harness._util.atomic_files import sha256_file
    from harness.pipeline.noise import torch_era
    from harness.pipeline.renderer import ReferenceRenderer
    from harness.schema.base import Base
    from harness.schema.render import Lora, RenderRequest, Shift

    shared = folder / "lora.safetensors"
    if not shared.exists():
        random_lora(base, shared, 32, STEPS[1], every=True)
    with closing(ReferenceRenderer(engine="eager")) as renderer:
        for name, wrong in {"": {}, **WRONG}.items():
            job = folder / f"job-{size}{f'-{name}' if name else ''}"
            (job / "samples").mkdir(parents=True)
            write_config(job, base, size, 25)
            lora = job / f"{job.name}.safetensors"
            lora.hardlink_to(shared)
            plain = RenderRequest(
                base=Base(path=str(base)), pipeline="builtin", dtype="bf16", lora=None, prompt=PROMPTS[0],
                neg="", width=size, height=size, seed=SEED, sample_steps=25, guidance_scale=4.0,
                noise=torch_era(),
            )  # fmt: skip
            changes = dict(wrong)
            multiplier = changes.pop("network_multiplier", 1.0)
            if "static_shift" in changes:
                changes["shift"] = Shift(shift=changes.pop("static_shift"), dynamic_shifting=False)
            request = dataclasses.replace(plain, **changes)
            for step in STEPS:
                weights = Lora(lora, sha256_file(lora), multiplier) if step else None
                image = renderer.render(dataclasses.replace(request, lora=weights)).image
                file = job / "samples" / f"{1_795_000_000_000 + step}__{step:09d}_0.jpg"
                Image.fromarray(image).save(file)


def case_file(folder: Path, size: int, source: Path, name: str = "") -> Path:
    """Return the case of the trained step, as the build at ``source`` imports it."""
    build = "this" if source == HERE.parent else "old"
    return folder / f"cases-{build}" / f"{size}{name}" / "000000100_0.case.yaml"


def pixels(file: Path) -> np.ndarray:
    """Return an image's pixels."""
    return np.asarray(Image.open(file).convert("RGB"))


def row_of(out: Path) -> dict[str, Any]:
    """Return the last row of a run."""
    return json.loads((out / "results.jsonl").read_text().splitlines()[-1])


def one(folder: Path, size: int, builds: dict[str, Path], rounds: int) -> None:
    """Time one case in fresh processes, and compare the images."""
    preview = next((folder / f"job-{size}" / "samples").glob("*100_0.jpg"))
    plan = {
        "base": str(folder / "base"), "lora": str(folder / "lora.safetensors"), "preview": str(preview),
        "jobs": [{"scale": 1.0, "scheduler": scheduler(folder), "out": str(folder / f"plain-{size}.png")}],
        "call": {"prompt": "a red flower in a green forest", "width": size, "height": size, "seed": 42,
                 "num_inference_steps": 25, "guidance_scale": 4.0},
    }  # fmt: skip
    (folder / "plain.json").write_text(json.dumps(plan))
    for number in range(rounds):
        with timed(f"one case, {size}², plain script", {}):
            run(sys.executable, HERE / "plain.py", folder / "plain.json", source=HERE.parent,
                log=folder / "log.txt")  # fmt: skip
        for name, source in builds.items():
            out = folder / f"one-{size}-{name}-{number}"
            with timed(f"one case, {size}², {name}", {}) as result:
                result["exit"] = harness("run", case_file(folder, size, source), "--fresh", "--out", out,
                                         source=source, log=folder / "log.txt")  # fmt: skip
                row = row_of(out)
                result.update({key: round(value, 1) for key, value in row["seconds"].items()})
                result["engine"] = f"{row['rendered']['engine']}: {row['rendered'].get('engine_reason')}"
                image = pixels(out / row["images"]["rerun"])
                result["as plain"] = np.array_equal(image, pixels(folder / f"plain-{size}.png"))


def scheduler(folder: Path) -> dict[str, Any]:
    """Return the scheduler's settings, as the reference takes them."""
    config = json.loads((folder / "base" / "scheduler" / "scheduler_config.json").read_text())
    return {name: value for name, value in config.items() if not name.startswith("_")}


class Gpu:
    """Samples how much of its memory the GPU has in use, and whether it is busy, until closed."""

    def __init__(self) -> None:
        import pynvml  # the package nvidia-ml-py

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.samples: list[tuple[float, int, float]] = []
        self._ended = threading.Event()

        def sample() -> None:
            while not self._ended.wait(0.05):
                busy = pynvml.nvmlDeviceGetUtilizationRates(device).gpu
                used = pynvml.nvmlDeviceGetMemoryInfo(device).used / 2**30
                self.samples.append((time.perf_counter(), busy, used))

        self._thread = threading.Thread(target=sample, daemon=True)
        self._thread.start()

    def close(self) -> str:
        """Return peak memory, and the share of busy samples between the first and the last busy one."""
        self._ended.set()
        self._thread.join()
        busy = [number for number, (_, share, _) in enumerate(self.samples) if share > 50]
        peak = max((used for *_, used in self.samples), default=0.0)
        share = len(busy) / (busy[-1] - busy[0] + 1) if busy else 0.0
        return f"{share:.0%} of the samples from the first to the last busy one; peak {peak:.1f} GiB"


def variants(folder: Path, size: int, builds: dict[str, Path]) -> None:
    """Time twelve guidance scales of one case."""
    for name, source in builds.items():
        gpu = Gpu()
        out = folder / f"sweep-{size}-{name}"
        with timed(f"12 variants, {size}², {name}", {}) as result:
            harness("sweep", case_file(folder, size, source), "--axis", f"guidance_scale={GUIDANCE}",
                    "--out", out, source=source, log=folder / "log.txt")  # fmt: skip
            rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
            result["busy"] = gpu.close()
            result["rows"] = len(rows)
            for key in ("load", "render", "prove", "score"):
                result[key] = round(sum(row["seconds"].get(key, 0) for row in rows), 1)
            result["engine"] = sorted({row["rendered"]["engine"] for row in rows if row.get("rendered")})


def warm(folder: Path, size: int) -> None:
    """Time commands that a warm process runs."""
    source, log = HERE.parent, folder / "log.txt"
    case = case_file(folder, size, source)
    others = {
        "again": case.read_text(),
        "multiplier 0.9": case.read_text().replace("network_multiplier: 1.0", "network_multiplier: 0.9"),
        "guidance 5": case.read_text().replace("guidance_scale: 4.0", "guidance_scale: 5.0"),
    }
    with (folder / "serve.txt").open("wb") as out:
        server = subprocess.Popen([sys.executable, "-m", "harness", "serve"], stdout=out, stderr=out,
                                  env={**os.environ, "PYTHONPATH": os.pathsep.join(
                                      [str(source), os.environ.get("PYTHONPATH", "")])})  # fmt: skip
    while harness("serve", "--status", source=source, log=log):
        time.sleep(0.2)
    try:
        for number, name in enumerate(["first", *others, *others]):
            other = case.with_name(f"000000100_{10 + number}.case.yaml")
            other.write_text(others.get(name, case.read_text()))
            target = folder / f"warm-{size}-{number}"
            with timed(f"warm, {size}², {name}", {}) as result:
                result["exit"] = harness("run", other, "--fresh", "--out", target, source=source, log=log)
                row = row_of(target)
                result.update({key: round(value, 2) for key, value in row["seconds"].items()})
                result["engine"] = row["rendered"]["engine"]
            other.unlink()
    finally:
        server.terminate()
        server.wait(60)


def diagnosis(folder: Path, size: int, builds: dict[str, Path], names: list[str]) -> None:
    """Time diagnoses, each in a fresh process."""
    for wrong in names:
        for name, source in builds.items():
            found = folder / f"found-{size}-{wrong}-{name}.json"
            gpu = Gpu()
            with timed(f"diagnosis, {size}², {wrong}, {name}", {}) as result:
                case = case_file(folder, size, source, f"-{wrong}")
                result["exit"] = harness("diagnose", case, "--json", found, "-v", source=source,
                                         log=folder / f"log-{wrong}-{name}.txt")  # fmt: skip
                if found.exists():
                    answer = json.loads(found.read_text())
                    result["causes"] = [f"{c.get('axis')}={c.get('value')}" for c in answer["causes"]]
                    result["spent"] = round(answer["spent"], 1)
                result["gpu"] = gpu.close()


def main() -> None:
    """Prepare, then run the stages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--old", type=Path, help="a checkout of the build to compare with")
    parser.add_argument("--size", type=int, default=1024, help="pixels")
    parser.add_argument("--stages", default="one,variants,warm,diagnosis")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--wrong", default=",".join(WRONG), help="which diagnoses")
    options = parser.parse_args()
    folder, stages = options.folder.resolve(), options.stages.split(",")
    folder.mkdir(parents=True, exist_ok=True)
    builds = {"this": HERE.parent} | ({"old": options.old.resolve()} if options.old else {})
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    prepare(folder, options.size, builds)
    if "one" in stages:
        one(folder, options.size, builds, options.rounds)
    if "variants" in stages:
        variants(folder, options.size, builds)
    if "warm" in stages:
        warm(folder, options.size)
    if "diagnosis" in stages:
        diagnosis(folder, options.size, builds, options.wrong.split(","))


if __name__ == "__main__":
    main()

"""Where the time of one case in a fresh process goes, with what was done about it and without.

    python benchmarks/start_parts.py FOLDER [--size 1024] [--rounds 2]

FOLDER is one that first_verdict.py prepared. Each line is a process: seconds from its start to its end, then
what they were spent on. ``all packages``: libraries import all that is installed. A process waits for the
GPU before and after each part of a render, so that it takes some 0.01 s more than one that is not watched.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from first_verdict import HERE, case_file, row_of

MODES = ("as it is", "all packages")
FROM = ("python", "torch", "diffusers")
"""Where the parts begin that are imports."""


class Parts:
    """Seconds of named parts, since ``began``, which another process took."""

    def __init__(self, began: float) -> None:
        self.began, self.last = began, began
        self.spent: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Give ``name`` the time since the last mark."""
        now = time.time()
        self.spent[name] = self.spent.get(name, 0.0) + now - self.last
        self.last = now

    def around(self, owner: Any, name: str, part: str, before: str = "other") -> None:
        """Give ``part`` what the function ``name`` of ``owner`` takes, and ``before`` what went before."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            _wait()
            self.mark(before)
            try:
                return inner(*arguments, **named)
            finally:
                _wait()
                self.mark(part)

        setattr(owner, name, timed)


def _wait() -> None:
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def child(mode: str, began: float, told: Path, arguments: list[str]) -> None:
    """Run a command of the harness in this process, and write what its parts took to ``told``."""
    parts = Parts(began)
    parts.mark("python")
    import torch

    parts.mark("torch")
    from harness import runs
    from harness.cli import main, run_command
    from harness.pipeline import prefetch
    from harness.runs import workers

    side: dict[str, float] = {}
    beside(prefetch, "copies_of", side)  # in another thread
    make = workers.make_renderer

    def made(*given: Any, **named: Any) -> Any:
        parts.mark("before libraries")
        renderer = make(*given, **named)
        parts.mark("libraries")
        watch(parts)
        return renderer

    workers.make_renderer = made
    del runs, torch
    sys.argv = ["harness", *arguments]
    try:
        main() if mode != "all packages" else run_command()
    finally:
        parts.mark("after scores")
        told.write_text(json.dumps({"parts": parts.spent, "beside": side, "ended": time.time()}))


def beside(owner: Any, name: str, spent: dict[str, float]) -> None:
    """Note what a function of another thread takes."""
    inner = getattr(owner, name)

    def timed(*given: Any, **named: Any) -> Any:
        began = time.time()
        try:
            return inner(*given, **named)
        finally:
            spent[name] = time.time() - began

    setattr(owner, name, timed)


def watch(parts: Parts) -> None:
    """Time what a renderer does; its libraries are imported."""
    from harness.pipeline import load, renderer
    from harness.pipeline.lora import LoraSwitch
    from harness.pipeline.prompt_cache import PromptCache
    from harness.runs.scorer import Scorer

    parts.around(load, "load_models", "models")
    parts.around(load, "load_tokenizers", "tokenizers")
    parts.around(load.LoadedPipeline, "place", "placing")
    parts.around(renderer, "load_pipeline", "rest of loading")
    parts.around(LoraSwitch, "apply", "LoRA")
    parts.around(PromptCache, "__call__", "prompt", before="noise and other")
    parts.around(Scorer, "run", "scores", before="after the render")
    loaded = renderer.load_pipeline

    def found(*given: Any, **named: Any) -> Any:
        pipeline = loaded(*given, **named)
        kind = type(pipeline.pipe.transformer)
        forward, calls = kind.forward, [0]

        def called(*arguments: Any, **settings: Any) -> Any:
            calls[0] += 1
            if calls[0] <= 2:
                _wait()
                parts.mark("noise and other" if calls[0] == 1 else "first call")
            return forward(*arguments, **settings)

        kind.forward = called
        parts.around(pipeline.pipe.vae, "decode", "decoding", before="other calls")
        return pipeline

    renderer.load_pipeline = found


def main() -> None:
    """Run every mode in turn; or, as a child, one command."""
    if sys.argv[1:2] == ["--child"]:
        mode, began, told, *arguments = sys.argv[2:]
        child(mode, float(began), Path(told), arguments)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=1024, help="pixels")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    folder = options.folder.resolve()
    began = time.process_time()
    importlib.metadata.packages_distributions()
    listed = time.process_time() - began
    print(f"one listing of installed packages by Python {sys.version.split()[0]}: {listed:.2f} s", flush=True)
    case = case_file(folder, options.size, HERE.parent)
    hashes = set()
    for number in range(options.rounds):
        for mode in MODES:
            out = folder / f"parts-{options.size}-{number}-{MODES.index(mode)}"
            one(mode, case, out)
            hashes.add(row_of(out)["image_sha256"])
    print(f"the images have {len(hashes)} hash(es)", flush=True)


def one(mode: str, case: Path, out: Path) -> None:
    """Run one case in a process, and print what it took."""
    told, path = (
        out.with_suffix(".json"),
        os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    )
    arguments = ["run", str(case), "--fresh", "--out", str(out)]
    began = time.time()
    done = subprocess.run(
        [sys.executable, __file__, "--child", mode, str(began), str(told), *arguments],
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}, cwd=out.parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ended = time.time()
    if not told.exists():
        raise SystemExit(done.stdout + done.stderr)
    found = json.loads(told.read_text())
    found["parts"]["exit"] = ended - found["ended"]
    said = "  ".join(f"{name} {spent:.2f}" for name, spent in found["parts"].items())
    thread = "  ".join(f"{name} {spent:.2f}" for name, spent in found["beside"].items())
    print(f"{mode:20} {ended - began:6.2f} s  exit code {done.returncode}  {said}", flush=True)
    print(f"{'':20} in the thread beside: {thread or 'nothing'}", flush=True)


if __name__ == "__main__":
    main()

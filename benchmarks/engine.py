"""Render the same requests eagerly and by the exact engine: seconds, proof, and is every bit equal?

    python benchmarks/engine.py                                     # the tiny checkpoint
    python benchmarks/engine.py BASE --sizes 512 1024 --steps 25    # what a GPU is measured with
    python benchmarks/engine.py BASE --sizes 1024 --offload model   # peak GPU memory

Exit code 1 where an image or its latents differ. A CPU needs g++, and compiles for minutes the first time.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
from harness.schema.render import EngineName, Render, RenderRequest

MAX_KERNELS = 24


def request(base: Base, dtype: str, size: int, steps: int) -> RenderRequest:
    """Return a request of ``size`` × ``size`` pixels."""
    return RenderRequest(
        base=base,
        pipeline="builtin",
        dtype=dtype,  # type: ignore[arg-type]
        lora=None,
        prompt="a red flower in a green forest",
        neg="",
        width=size,
        height=size,
        seed=42,
        sample_steps=steps,
        guidance_scale=4.0,
    )


def measured(renderer: ReferenceRenderer, wanted: RenderRequest, repeats: int) -> tuple[Render, float, float]:
    """Return a render, the median seconds of others, and what the first one spent on the proof."""
    first = renderer.render(wanted)
    others = (replace(wanted, seed=wanted.seed + number) for number in range(1, repeats + 1))
    again = [renderer.render(other).seconds["render"] for other in others]
    return first, statistics.median(again), first.seconds["prove"]


def peak() -> str:
    """Return the most GPU memory in use so far, and start over."""
    if not torch.cuda.is_available():
        return "no GPU"
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return f"peak {most:.1f} GiB"


def main() -> int:
    """Print one line for every dtype, size and engine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path, nargs="?")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="pixels")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--dtypes", nargs="+", default=["bf16"])
    parser.add_argument("--repeats", type=int, default=3, help="renders that are timed, after the first")
    parser.add_argument("--offload", default="none")
    parser.add_argument("--profile", action="store_true", help="list the kernels of a fast render (CUDA)")
    options = parser.parse_args()
    base = Base(path=str(options.base.resolve())) if options.base else Base(embedded="tiny-flex2-emoji")
    engines: list[EngineName] = ["eager"] if options.offload == "sequential" else ["eager", "exact"]
    eager: dict[tuple[str, int], tuple[Render, float]] = {}
    different = 0
    for engine in engines:
        renderer = ReferenceRenderer(engine=engine, offload=options.offload)
        for dtype in options.dtypes:
            for size in options.sizes:
                wanted = request(base, dtype, size, options.steps)
                render, seconds, prove = measured(renderer, wanted, options.repeats)
                print(
                    f"{dtype} {size}², {options.steps} steps, {engine}: {seconds:.3f} s a render, "
                    f"{prove:.1f} s for the proof; engine {render.rendered.engine} "
                    f"{render.rendered.engine_reason}; offload {render.rendered.offload}, {peak()}",
                    flush=True,
                )
                if options.offload != "none":
                    new = renderer.render(replace(wanted, prompt="a yellow boat on a blue lake"))
                    print(f"with a new prompt {new.seconds['render']:.3f} s", flush=True)
                if engine == "eager":
                    eager[dtype, size] = render, seconds
                    continue
                expected, slow = eager[dtype, size]
                same = _same(render, expected)
                different += not same
                bits = "identical" if same else "DIFFERENT"
                print(f"{dtype} {size}²: {slow / seconds:.2f}× eager, bits {bits}", flush=True)
                if options.profile:
                    print(*kernels(renderer, wanted), sep="\n", flush=True)
        renderer.close()
    return 1 if different else 0


def kernels(renderer: ReferenceRenderer, wanted: RenderRequest) -> list[str]:
    """Return the kernels of one render by the time they take, as a share of all kernels' time."""
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            renderer.render(wanted)
    except Exception as error:  # a profiler that does not start must not end a measurement
        return [f"no profile: {error}"]
    found = sorted(profile.key_averages(), key=lambda kernel: -kernel.self_device_time_total)
    whole = sum(kernel.self_device_time_total for kernel in found) or 1
    return [
        f"  {kernel.self_device_time_total / whole:6.1%} {kernel.self_device_time_total / 1000:9.1f} ms "
        f"{kernel.count:6} × {kernel.key[:100]}"
        for kernel in found[:MAX_KERNELS]
    ]


def _same(a: Render, b: Render) -> bool:
    return np.array_equal(a.image, b.image) and a.latents_sha256 == b.latents_sha256


if __name__ == "__main__":
    raise SystemExit(main())

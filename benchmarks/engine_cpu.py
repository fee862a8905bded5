"""The exact engine with a real compiler on the CPU: what the proof says, and that no bit moves either way.

    python benchmarks/engine_cpu.py

Needs g++. Compiles on the first run (a minute or two); later runs take the kernels from their folder.
"""

from __future__ import annotations

import time

import numpy as np

from harness.case import Base
from harness.reference.render import ReferenceRenderer
from harness.renderer import Dtype, RenderRequest

DTYPES: tuple[Dtype, ...] = ("bf16", "fp32")


def main() -> None:
    """Print one line per dtype."""
    eager, exact = (ReferenceRenderer(device="cpu", engine=name) for name in ("eager", "exact"))
    for dtype in DTYPES:
        request = RenderRequest(
            base=Base(embedded="tiny-flex2"),
            pipeline="builtin",
            dtype=dtype,
            lora=None,
            prompt="moon over the sea",
            neg="",
            width=128,
            height=128,
            seed=5,
            sample_steps=8,
            guidance_scale=4.0,
        )
        want = eager.render(request)
        started = time.perf_counter()
        found = exact.render(request)
        first = time.perf_counter() - started
        same = np.array_equal(want.image, found.image) and want.latents_sha256 == found.latents_sha256
        print(
            f"{dtype}: engine {found.rendered.engine} {found.rendered.engine_reason or '(proved)'}; "
            f"image {'identical' if same else 'DIFFERENT'}; first render {first:.1f} s, "
            f"second {exact.render(request).seconds['render']:.2f} s, eager {want.seconds['render']:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

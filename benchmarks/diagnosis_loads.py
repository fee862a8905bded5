"""Count what a diagnosis changes about the weights: loads of the base, quantizations, LoRAs.

    python benchmarks/diagnosis_loads.py [CASE...]

A GPU holds one base: every change of dtype, also the change back, is a load. A quantized copy is made anew
where another quantizer was used since. Without a CASE, five previews are rendered with one wrong
setting, 96×96, 6 steps. Set ``PYTHONPATH`` to another checkout to count its.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.data import JOBS
from harness.diagnosis.diagnose import diagnose
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions
from harness.schema.case import Case, load_case
from harness.schema.render import OnStep, Render, Renderer, RenderRequest, Trajectory

TRUTHS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bf16", {"guidance_scale": 7.0}),
    ("bf16", {"quantize": "qfloat8"}),
    ("bf16", {"max_shift": 1.3}),
    ("fp32", {"guidance_scale": 3.4}),
    ("fp32", {"dtype": "bf16"}),
)
"""The job's dtype, and what the preview was really rendered with."""


class Counting(Renderer):
    """Renders as the reference does, and keeps every request."""

    def __init__(self) -> None:
        self._renderer = ReferenceRenderer(device="cpu")
        self.requests: list[RenderRequest] = []

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request."""
        self.requests.append(request)
        return self._renderer.render(request, on_step)

    def record(self, request: RenderRequest) -> tuple[Render, Any]:
        """Render, and return the trajectory."""
        self.requests.append(request)
        return self._renderer.record(request)

    def estimate(self, request: RenderRequest, trajectory: Trajectory) -> tuple[Render, int]:
        """Estimate a render."""
        self.requests.append(request)
        return self._renderer.estimate(request, trajectory)  # type: ignore[arg-type]

    def expect(self, requests: Sequence[RenderRequest]) -> None:
        """Take note of renders that are to come."""
        self._renderer.expect(requests)

    def trajectories(self) -> Any:
        """Return itself."""
        return self

    def close(self) -> None:
        """Free the base."""
        self._renderer.close()


def changes(values: list[Any]) -> int:
    """Return how often a value is another than the one before it, the first one included."""
    return sum(one != other for one, other in zip([None, *values], values, strict=False))


def truths(folder: Path) -> Iterator[tuple[str, Case]]:
    """Yield cases whose previews were rendered with ``TRUTHS``, each with its name."""
    sys.path.append(str(Path(__file__).parents[1]))
    from tests.diagnosis.truths import base_cases, changed, rendered_with

    renderer = ReferenceRenderer(device="cpu")
    base = base_cases(JOBS / "emoji_inkprint", folder / "cases")[0]
    for number, (dtype, settings) in enumerate(TRUTHS):
        case = changed(base, width=96, height=96, sample_steps=6, dtype=dtype)
        yield f"{settings} in {dtype}", rendered_with(settings, case, renderer, f"{number}.png")


def count(name: str, case: Case) -> str:
    """Diagnose a case and return what that took, in one line."""
    renderer = Counting()
    found = diagnose(case, options=RunOptions(device="cpu"), renderer=renderer)
    renderer.close()
    made = renderer.requests
    loads = changes([(each.dtype, each.encoder_dtype, each.pipeline, each.base) for each in made])
    quantized = changes([each.quantize for each in made if each.quantize != "none"])
    loras = changes([(each.lora, each.effective_lora_mode, each.quantize, each.dtype) for each in made])
    causes = (
        ", ".join(f"{each.axis} = {each.value}" for each in found.causes) if found.explained else "nothing"
    )
    return (
        f"{name}: loads {loads}, quantizations {quantized}, LoRAs {loras}, "
        f"renders {found.renders}, {found.spent:.1f} of its own; {causes}"
    )


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", type=Path, nargs="*", metavar="CASE")
    given: list[Path] = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as folder:
        named = ((file.name, load_case(file)) for file in given) if given else truths(Path(folder))
        for name, case in named:
            print(count(name, case), flush=True)


if __name__ == "__main__":
    main()

"""A renderer that counts, and runs read back by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RenderError
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions
from harness.runs.results import RunResult
from harness.schema.case import Case
from harness.schema.metric_limits import Tolerance
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row

MakeCase = Callable[..., Case]


CPU = RunOptions(device="cpu")


ANYTHING = Tolerance(ssim_min=-1, lpips_max=100, source="test")


NOTHING = Tolerance(ssim_min=1, lpips_max=0, source="test")


class Counting:
    """The reference renderer; remembers what it rendered, and may stop or fail at one of them."""

    def __init__(
        self,
        *,
        interrupt_at: int | None = None,
        fail_seed: int | None = None,
        kind: type[HarnessError] = RenderError,
    ) -> None:
        self._real = ReferenceRenderer(device="cpu")
        self._interrupt_at, self._fail_seed, self._kind = interrupt_at, fail_seed, kind
        self.seeds: list[int] = []
        self.closed = 0

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if len(self.seeds) == self._interrupt_at:
            raise KeyboardInterrupt
        if request.seed == self._fail_seed:
            raise self._kind("out of memory\non the GPU")
        self.seeds.append(request.seed)
        return self._real.render(request, on_step)

    def close(self) -> None:
        self.closed += 1
        self._real.close()


def seeded(make_case: MakeCase, count: int = 4, **fields: Any) -> list[Case]:
    return [make_case(f"s{seed}", settings={"seed": seed}, **fields) for seed in range(count)]


def by_name(result: RunResult) -> dict[str, Row]:
    return {row.case.removeprefix("small/"): row for row in result.rows}


def images(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}

"""A renderer that counts, and runs read back by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions
from harness.runs.results import RunResult
from harness.schema.case import Case
from harness.schema.metric_limits import Tolerance
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row
from tests.runs.conftest import MakeCase

CPU = RunOptions(device="cpu")


ANYTHING = Tolerance(ssim_min=-1, lpips_max=100, source="test")


NOTHING = Tolerance(ssim_min=1, lpips_max=0, source="test")


class Counting(ReferenceRenderer):
    """The reference pipeline; remembers the seeds it rendered, and raises what ``errors`` has for a seed."""

    def __init__(self, errors: Mapping[int, BaseException] | None = None) -> None:
        super().__init__(device="cpu")
        self._errors = errors or {}
        self.seeds: list[int] = []
        self.closed = 0

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request.seed in self._errors:
            raise self._errors[request.seed]
        self.seeds.append(request.seed)
        return super().render(request, on_step)

    def close(self) -> None:
        self.closed += 1
        super().close()


def seeded(make_case: MakeCase, count: int = 4, **fields: Any) -> list[Case]:
    return [make_case(f"s{seed}", settings={"seed": seed}, **fields) for seed in range(count)]


def by_name(result: RunResult) -> dict[str, Row]:
    return {row.case.removeprefix("small/"): row for row in result.rows}


def told(rows: list[Row]) -> list[Row]:
    """Return rows without what may differ from run to run."""
    return [row.model_copy(update={"seconds": {}, "render_key": None}) for row in rows]


def images(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}

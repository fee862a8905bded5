from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from harness.sweeps.axis_values import Value
from tests.diagnosis.truths import base_cases, changed, rendered_with


@pytest.fixture(scope="session")
def renderer() -> ReferenceRenderer:
    """Remembers what it rendered: what is tested is the search, and searches ask for the same renders."""
    made = ReferenceRenderer(device="cpu")
    for name in ("render", "record", "estimate"):
        setattr(made, name, cache(getattr(made, name)))
    return made


@pytest.fixture(scope="session")
def fresh_renderer() -> ReferenceRenderer:
    """A renderer that renders whatever it is asked for."""
    return ReferenceRenderer(device="cpu")


@pytest.fixture(scope="session")
def bases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Cases of the shipped job, made quick: 96×96 pixels, 6 steps, fp32."""
    cases = base_cases(jobs["inkprint"], tmp_path_factory.mktemp("truths") / "cases")
    return [changed(case, width=96, height=96, sample_steps=6, dtype="fp32") for case in cases]


@pytest.fixture(scope="session")
def altered(bases: list[Case], renderer: ReferenceRenderer) -> Callable[..., Case]:
    """Saves a case whose preview was rendered with settings that it does not record."""

    def make(name: str, suffix: str = "png", trained_in: str = "fp32", **settings: Value) -> Case:
        return rendered_with(settings, changed(bases[0], dtype=trained_in), renderer, f"{name}.{suffix}")

    return make

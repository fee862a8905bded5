from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job
from harness.schema.case import Case, save_case
from tests.systems.reference_server import ReferenceServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReferenceServer]:
    """A reference server on loopback."""
    found = ReferenceServer(tmp_path / "outputs")
    yield found
    found.close()


@pytest.fixture
def make_cases(tmp_path: Path, jobs: dict[str, Path]) -> Callable[[int], list[Case]]:
    """Makes cases of the shipped job with a LoRA, of two steps and ``count`` seeds."""

    def make(count: int) -> list[Case]:
        folder = tmp_path / "cases"
        first = import_job(jobs["inkprint"], out=folder, steps="200").cases[2]
        for case in folder.glob("*.case.yaml"):
            case.unlink()
        made = []
        for seed in range(count):
            settings = first.settings.model_copy(update={"sample_steps": 2, "seed": seed})
            changes = {"id": f"job/s{seed:03d}", "settings": settings}
            made.append(save_case(first.model_copy(update=changes), folder / f"s{seed:03d}.case.yaml"))
        return made

    return make

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import harness.data

SHIPPED = Path(harness.data.__file__).parent / "jobs"
TEST_JOBS = Path(__file__).parents[1] / "data" / "jobs"


@pytest.fixture(scope="session")
def genuine() -> Callable[[str], Path]:
    """Return the folder of a genuine job by its name."""
    return lambda name: next(root / name for root in (SHIPPED, TEST_JOBS) if (root / name).is_dir())


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A copy of the genuine job simple_v1 that a test may change."""
    return Path(shutil.copytree(TEST_JOBS / "tiny_flex2_simple_v1", tmp_path / "tiny_flex2_simple_v1"))


@pytest.fixture
def edit(job: Path) -> Callable[[Callable[[dict[str, Any]], object]], None]:
    """Change ``config.process[0]`` of ``job`` in place."""

    def change(mutate: Callable[[dict[str, Any]], object]) -> None:
        path = job / "config.yaml"
        config = yaml.safe_load(path.read_text())
        mutate(config["config"]["process"][0])
        path.write_text(yaml.safe_dump(config))

    return change

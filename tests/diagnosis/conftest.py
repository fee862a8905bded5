from __future__ import annotations

from pathlib import Path

import pytest
from truths import base_cases

from harness.case import Case
from harness.reference.render import ReferenceRenderer


@pytest.fixture(scope="session")
def renderer() -> ReferenceRenderer:
    return ReferenceRenderer(device="cpu")


@pytest.fixture(scope="session")
def bases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return base_cases(jobs["inkprint"], tmp_path_factory.mktemp("truths") / "cases")

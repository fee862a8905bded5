from __future__ import annotations

from pathlib import Path

import pytest

from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from tests.diagnosis.truths import base_cases


@pytest.fixture(scope="session")
def renderer() -> ReferenceRenderer:
    return ReferenceRenderer(device="cpu")


@pytest.fixture(scope="session")
def bases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return base_cases(jobs["inkprint"], tmp_path_factory.mktemp("truths") / "cases")

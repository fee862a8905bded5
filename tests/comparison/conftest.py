from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.importers.aitoolkit import import_job
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from tests.conftest import DATA

IMAGES = DATA / "inference_images"
TRUTHS: list[dict[str, Any]] = json.loads((IMAGES / "truths.json").read_text())["images"]


@pytest.fixture(scope="session")
def cases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Case]:
    """The cases of the shipped job as an import leaves them, by step and sample."""
    found = import_job(jobs["inkprint"], out=tmp_path_factory.mktemp("cases")).cases
    return {(case.preview.step or 0, case.preview.index or 0): case for case in found}


@pytest.fixture(scope="session")
def renderer() -> Iterator[ReferenceRenderer]:
    """Remembers what it rendered: what is tested is the search, and searches ask for the same renders."""
    made = ReferenceRenderer(device="cpu")
    for name in ("render", "record", "estimate"):
        setattr(made, name, cache(getattr(made, name)))
    yield made
    made.close()


def truth_of(name: str) -> dict[str, Any]:
    return next(each for each in TRUTHS if each["file"] == name)


def case_of(truth: dict[str, Any], cases: dict[tuple[int, int], Case]) -> Case:
    return cases[truth["case"]["step"], truth["case"]["index"]]


def requests_of(truth: dict[str, Any]) -> list[Path]:
    return [IMAGES / truth["request"]] if "request" in truth else []

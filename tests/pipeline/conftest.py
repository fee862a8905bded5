from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness._util.atomic_files import sha256_file
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.render import Lora, RenderRequest

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def request_for(
    jobs: dict[str, Path], quick_request: Callable[..., RenderRequest]
) -> Callable[..., RenderRequest]:
    """Makes small requests; ``lora`` is a step of the shipped job."""

    def make(lora: int | None = None, multiplier: float = 1.0, **changes: object) -> RenderRequest:
        name = {100: "_000000100", 200: "_000000200", 300: ""}.get(lora or 0, "")
        file = jobs["inkprint"] / f"emoji_inkprint{name}.safetensors"
        weights = Lora(file, sha256_file(file), multiplier) if lora else None
        return quick_request(**{"lora": weights, **changes})

    return make


@pytest.fixture(scope="session")
def renderer() -> ReferenceRenderer:
    return ReferenceRenderer(device="cpu", trust_remote_code=True)


@pytest.fixture(scope="session")
def hub_folder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint in the hub's layout: with a pipeline.py of its own."""
    folder = tmp_path_factory.mktemp("hub") / "tiny-flex2-emoji"
    shutil.copytree(tiny, folder)
    shutil.copy(DATA / "hub" / "pipeline.py", folder)
    return folder


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b))

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from harness._util.atomic_files import sha256_file
from harness.errors import CheckpointError
from harness.pipeline import load
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
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
    return ReferenceRenderer(device="cpu", trust_remote_code=True, engine="eager")


@pytest.fixture
def offloading(
    renderer: ReferenceRenderer, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> ReferenceRenderer:
    """A renderer that offloads by model from the CPU to the CPU; ``renderer`` has loaded before and does not.

    diffusers takes a pipeline for where its first model on an accelerator is; without one it would take the
    encoders' ``meta``.
    """
    assert renderer.render(request_for()).rendered.offload == "none"
    monkeypatch.setattr(load, "resolved_offload", lambda *_: "model")
    monkeypatch.setattr(DiffusionPipeline, "device", torch.device("cpu"))
    return ReferenceRenderer(device="cpu", engine="eager")


@pytest.fixture(scope="session")
def hub_folder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint in the hub's layout: with a pipeline.py of its own."""
    folder = tmp_path_factory.mktemp("hub") / "tiny-flex2-emoji"
    shutil.copytree(tiny, folder)
    shutil.copy(DATA / "hub" / "pipeline.py", folder)
    return folder


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "base"))


@pytest.fixture
def refused(base: Path, request_for: Callable[..., RenderRequest]) -> Iterator[Callable[[str], str]]:
    """Renders with the base, checks that it is refused in one line, and returns that line."""
    renderer = ReferenceRenderer(device="cpu", engine="eager")

    def check(component: str) -> str:
        with pytest.raises(CheckpointError) as caught:
            renderer.render(request_for(base=Base(path=str(base))))
        line = str(caught.value)
        assert component in line
        assert "\n" not in line
        assert len(line) < 1000
        assert caught.value.exit_code == 2
        return line

    yield check
    renderer.close()


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b))

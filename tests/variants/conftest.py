from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.case import Base
from harness.files import sha256_file
from harness.reference.render import ReferenceRenderer
from harness.renderer import Lora, RenderRequest


@pytest.fixture(scope="session")
def small_request(jobs: dict[str, Path]) -> Callable[..., RenderRequest]:
    """Makes quick requests with the simple job's last LoRA."""
    file = jobs["simple"] / "tiny_flex2_simple_v1.safetensors"
    lora = Lora(file, sha256_file(file), 1.0)

    def make(**changes: object) -> RenderRequest:
        settings: dict[str, object] = {
            "base": Base(embedded="tiny-flex2"),
            "pipeline": "builtin",
            "dtype": "bf16",
            "lora": lora,
            "prompt": "moon over the sea",
            "neg": "",
            "width": 64,
            "height": 64,
            "seed": 5,
            "sample_steps": 3,
            "guidance_scale": 4.0,
        }
        return RenderRequest(**{**settings, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def renderer() -> ReferenceRenderer:
    return ReferenceRenderer(device="cpu")

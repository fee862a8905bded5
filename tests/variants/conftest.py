from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.files import sha256_file
from harness.reference.render import ReferenceRenderer
from harness.renderer import Lora, RenderRequest


@pytest.fixture(scope="session")
def small_request(
    jobs: dict[str, Path], quick_request: Callable[..., RenderRequest]
) -> Callable[..., RenderRequest]:
    """Makes quick requests with the simple job's last LoRA."""
    file = jobs["simple"] / "tiny_flex2_simple_v1.safetensors"
    lora = Lora(file, sha256_file(file), 1.0)
    return lambda **changes: quick_request(**{"lora": lora, **changes})


@pytest.fixture(scope="session")
def renderer() -> ReferenceRenderer:
    return ReferenceRenderer(device="cpu")

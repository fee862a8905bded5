from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness._util.atomic_files import sha256_file
from harness.schema.render import Lora, RenderRequest


@pytest.fixture(scope="session")
def small_request(
    jobs: dict[str, Path], quick_request: Callable[..., RenderRequest]
) -> Callable[..., RenderRequest]:
    """Makes quick requests with the shipped job's last LoRA."""
    file = jobs["inkprint"] / "emoji_inkprint.safetensors"
    lora = Lora(file, sha256_file(file), 1.0)
    return lambda **changes: quick_request(**{"lora": lora, **changes})

"""Is there a GPU?"""

from __future__ import annotations

import pytest


def require_gpu() -> None:
    """Fail the whole run where ``--gpu`` was given and torch sees no GPU.

    Raises:
        pytest.UsageError: one line that says so; nothing was rendered, and nothing passes.
    """
    from harness.errors import DeviceError
    from harness.pipeline.load import choose_device

    try:
        choose_device("cuda")
    except DeviceError as error:
        raise pytest.UsageError(f"--gpu: {error.found}; see harness doctor, or run without --gpu") from error

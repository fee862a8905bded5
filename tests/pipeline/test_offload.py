"""Offload by model: the transformer stays, the text encoders stream, and no bit moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import LoraError
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.render import RenderRequest
from harness.schema.spec import FLEX2

Make = Callable[..., RenderRequest]


@pytest.fixture
def requests(request_for: Make) -> list[RenderRequest]:
    """Two prompts and two LoRAs in an order in which a prompt comes again."""
    return [
        request_for(),
        request_for(seed=6, lora=300),
        request_for(prompt="a ship", lora=300),
        request_for(prompt="a ship", lora=200),
        request_for(),
    ]


def places(renderer: ReferenceRenderer) -> dict[str, set[str]]:
    """Return on which devices each model's weights lie."""
    assert renderer._state is not None
    pipe = renderer._state.loaded.pipe
    return {
        name: {weight.device.type for weight in getattr(pipe, name).parameters()}
        for name in (*FLEX2.text_encoders, "transformer", "vae")
    }


def offloaded(device: str) -> dict[str, set[str]]:
    """Return where weights lie between calls; ``meta`` stands for what streams from main memory."""
    return {**{name: {"meta"} for name in FLEX2.text_encoders}, "transformer": {device}, "vae": {device}}


def test_streamed_encoders_give_the_bits_of_encoders_that_stay(
    requests: list[RenderRequest], renderer: ReferenceRenderer, offloading: ReferenceRenderer
) -> None:
    for request in requests:
        found = offloading.render(request)
        assert found.rendered.offload == "model"
        assert places(offloading) == offloaded("cpu")
        assert np.array_equal(found.image, renderer.render(request).image)
    assert offloading.prompts_encoded == 2


def test_a_refused_lora_leaves_the_encoders_streaming(
    request_for: Make, offloading: ReferenceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise LoraError("does not fit")

    monkeypatch.setattr("harness.pipeline.lora.check_lora_shapes", refuse)
    with pytest.raises(LoraError):
        offloading.render(request_for(lora=300))
    assert places(offloading) == offloaded("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("engine", ["eager", "exact"])
def test_offload_by_model_has_the_bits_of_none(requests: list[RenderRequest], engine: Any) -> None:
    plain = ReferenceRenderer(device="cuda", offload="none", engine="eager")
    offloading = ReferenceRenderer(device="cuda", offload="model", engine=engine)
    for request in requests:
        found = offloading.render(request)
        assert np.array_equal(found.image, plain.render(request).image)
        assert (found.rendered.offload, found.rendered.engine) == ("model", engine)
        assert places(offloading) == offloaded("cuda")
        assert offloading._state is not None
        pipe = offloading._state.loaded.pipe
        assert (pipe.device.type, pipe._execution_device.type) == ("cuda", "cuda")

"""Offload by model: who is on the GPU when, and that no bit moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harness.reference import load, turns
from harness.reference.render import ReferenceRenderer
from harness.renderer import RenderRequest

Make = Callable[..., RenderRequest]
ENCODERS = ("text_encoder", "text_encoder_2")


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


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every move, as device and models, instead of making it."""
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(turns, "_move", lambda _pipe, *move: made.append(move))
    return made


def test_two_large_models_are_never_on_the_gpu_at_once(moves: list[tuple[str, ...]]) -> None:
    with turns.encoders_turn(None, "cuda"):
        assert moves == [("cpu", "transformer"), ("cuda", *ENCODERS)]
        moves.clear()
    assert moves == [("cpu", *ENCODERS), ("cuda", "transformer")]


def test_the_transformer_leaves_for_a_new_prompt_only(
    requests: list[RenderRequest],
    renderer: ReferenceRenderer,
    moves: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "resolved_offload", lambda *_: "model")
    offloading = ReferenceRenderer(device="cpu")
    counts = []
    for request in requests:
        moves.clear()
        found = offloading.render(request)
        counts.append(len(moves))
        assert found.rendered.offload == "model"
        assert np.array_equal(found.image, renderer.render(request).image)
    assert counts == [4, 0, 4, 0, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("engine", ["eager", "exact"])
def test_offload_by_model_has_the_bits_of_none(requests: list[RenderRequest], engine: Any) -> None:
    plain = ReferenceRenderer(device="cuda", offload="none", engine="eager")
    offloading = ReferenceRenderer(device="cuda", offload="model", engine=engine)
    for request in requests:
        found = offloading.render(request)
        assert np.array_equal(found.image, plain.render(request).image)
        assert (found.rendered.offload, found.rendered.engine) == ("model", engine)
        pipe = offloading._session.loaded.pipe if offloading._session else None
        devices = [getattr(pipe, name).device.type for name in (*ENCODERS, "transformer", "vae")]
        assert devices == ["cpu", "cpu", "cuda", "cuda"]

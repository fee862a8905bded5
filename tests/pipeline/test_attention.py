"""T5's attention: both kinds, whatever the installed transformers does by default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from transformers import T5EncoderModel

from harness.pipeline.attention import _sdpa_forward, set_t5_attention
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.render import RenderRequest

Make = Callable[..., RenderRequest]
IDS = torch.arange(2 * 77).reshape(2, 77) % 200


def embeddings(encoder: T5EncoderModel) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(IDS, output_hidden_states=False)[0]


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=str)
def encoder(request: pytest.FixtureRequest, tiny: Path) -> T5EncoderModel:
    return T5EncoderModel.from_pretrained(tiny / "text_encoder_2", dtype=request.param)


def test_the_kinds_differ_and_either_can_be_set_again(encoder: T5EncoderModel) -> None:
    found = []
    for kind in ("eager", "sdpa", "eager", "sdpa"):
        set_t5_attention(encoder, kind)  # type: ignore[arg-type]
        found.append(embeddings(encoder))
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])
    assert (found[0] - found[1]).float().norm() < 0.05 * found[0].float().norm()


def test_what_stands_in_for_older_transformers_has_the_bits_of_newer_ones(encoder: T5EncoderModel) -> None:
    set_t5_attention(encoder, "sdpa")
    native = embeddings(encoder)
    if encoder._supports_sdpa:
        set_t5_attention(encoder, "eager")
        for block in encoder.encoder.block:
            attention = block.layer[0].SelfAttention
            attention.forward = MethodType(_with_weights, attention)
    assert torch.equal(embeddings(encoder), native)


def _with_weights(attention: object, *arguments: torch.Tensor, **more: object) -> tuple[object, ...]:
    """Return what newer transformers expects beside: the attention's weights, which nobody reads."""
    return (*_sdpa_forward(attention, *arguments, **more), None)  # type: ignore[arg-type]


def test_a_request_chooses_it_and_the_row_says_so(request_for: Make) -> None:
    renderer = ReferenceRenderer(device="cpu", engine="eager")
    eager = renderer.render(request_for())
    sdpa = renderer.render(request_for(t5_attention="sdpa"))
    again = renderer.render(request_for())
    assert (eager.rendered.t5_attention, sdpa.rendered.t5_attention) == ("eager", "sdpa")
    assert not np.array_equal(eager.image, sdpa.image)
    assert np.array_equal(eager.image, again.image)

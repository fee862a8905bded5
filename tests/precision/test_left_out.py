"""Layers that a job's ``quantize_kwargs.exclude`` names stay as they are, whatever the quantizer."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from harness.data import CHECKPOINTS
from harness.pipeline.quantize import quantize_part
from harness.pipeline.renderer import ReferenceRenderer
from harness.pipeline.rounded_merge import merge_rounded
from harness.precision import availability
from harness.schema.lora_file import inspect_lora
from harness.schema.render import RenderRequest

PATTERNS = ("*time_text_embed*", "proj_out")
LEFT = "time_text_embed.timestep_embedder.linear_1"
ROUNDED = "transformer_blocks.0.ff.net.2"


@pytest.fixture(scope="module")
def transformer() -> FluxTransformer2DModel:
    folder = CHECKPOINTS / "tiny-flex2-emoji" / "transformer"
    return FluxTransformer2DModel.from_pretrained(folder, torch_dtype=torch.bfloat16)


@pytest.mark.parametrize("name", ["uint4", "nvfp4", "qfloat8", "qint8", "float8", "int8", "convrotint4"])
def test_they_stay(transformer: FluxTransformer2DModel, name: str) -> None:
    if availability.missing(name):
        pytest.skip(f"{name} {availability.missing(name)}")
    made = copy.deepcopy(transformer)
    quantize_part(made, name, PATTERNS)
    for path in (LEFT, "proj_out"):
        layer = made.get_submodule(path)
        assert type(layer) is nn.Linear
        assert type(layer.weight) is nn.Parameter
        assert torch.equal(layer.weight, transformer.get_submodule(path).weight)
    changed = made.get_submodule(ROUNDED)
    assert type(changed.weight) is not nn.Parameter or not torch.equal(
        changed.weight, transformer.get_submodule(ROUNDED).weight
    )


@pytest.mark.parametrize("name", ["uint4", "qfloat8", "float8", "convrotint4"])
def test_what_is_named_alone_is_quantized_alone(transformer: FluxTransformer2DModel, name: str) -> None:
    if availability.missing(name):
        pytest.skip(f"{name} {availability.missing(name)}")
    made = copy.deepcopy(transformer)
    quantize_part(made, name, ("!transformer_blocks.*", "!proj_out", "*.attn.*"))
    changed = {
        path
        for path, layer in transformer.named_modules()
        if isinstance(layer, nn.Linear)
        and not (
            type(found := made.get_submodule(path)) is nn.Linear
            and type(found.weight) is nn.Parameter
            and torch.equal(found.weight, layer.weight)
        )
    }
    assert ROUNDED in changed
    assert all(each.startswith("transformer_blocks.") or each == "proj_out" for each in changed)
    assert not any(".attn." in each for each in changed)


def test_a_lora_that_is_merged_rounds_none_of_them(
    transformer: FluxTransformer2DModel, jobs: dict[str, Path]
) -> None:
    lora = inspect_lora(max(jobs["inkprint"].glob("*.safetensors")))
    made = copy.deepcopy(transformer)
    merge_rounded(made, lora, 0.0, "uint4", "merged", exclude=("transformer_blocks.0.*",))
    assert torch.equal(made.get_submodule(ROUNDED).weight, transformer.get_submodule(ROUNDED).weight)
    other = ROUNDED.replace(".0.", ".1.", 1)
    assert not torch.equal(made.get_submodule(other).weight, transformer.get_submodule(other).weight)


def test_they_count_where_the_trainer_quantizes_the_transformer(
    quick_request: Callable[..., RenderRequest],
) -> None:
    request = quick_request(quantize="uint4", quantize_exclude=PATTERNS)

    def left(quantize: str) -> tuple[str, ...]:
        found: RenderRequest = dataclasses.replace(request, quantize=quantize)
        return found.layers_left_out

    assert left("uint4") == left("qfloat8-transformer") == PATTERNS
    assert left("uint4-te") == left("none") == left("fp8_e4m3fn-transformer") == ()


def test_a_renderer_takes_turns(
    renderer: ReferenceRenderer, quick_request: Callable[..., RenderRequest]
) -> None:
    every, some = (quick_request(quantize="qfloat8", quantize_exclude=each) for each in ((), ("single_*",)))
    first, second, again = (renderer.render(each) for each in (every, some, every))
    assert (first.image == again.image).all()
    assert (first.image != second.image).any()
    assert [each.rendered.quantize_exclude for each in (first, second)] == [[], ["single_*"]]

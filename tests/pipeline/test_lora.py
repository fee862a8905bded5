"""LoRA switching: any sequence gives the bits of a fresh process, and nothing loads in part unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness._util.atomic_files import sha256_file
from harness.errors import LoraError
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.render import Lora, RenderRequest

Make = Callable[..., RenderRequest]


def test_any_sequence_gives_the_bits_of_a_fresh_renderer(request_for: Make) -> None:
    sequence = [
        request_for(),
        request_for(lora=300, multiplier=0.5),
        request_for(lora=300, multiplier=1.0),
        request_for(lora=300, multiplier=0.5),
        request_for(lora=100, multiplier=-1.0),
        request_for(),
    ]
    used = ReferenceRenderer(device="cpu", engine="eager")
    seen = [used.render(request).image for request in sequence]
    for request, image in zip(sequence[:5], seen[:5], strict=True):
        assert np.array_equal(image, ReferenceRenderer(device="cpu", engine="eager").render(request).image)
    assert np.array_equal(seen[1], seen[3])
    assert np.array_equal(seen[0], seen[5])
    assert len({image.tobytes() for image in seen}) == 4


def test_the_fused_weights_are_those_of_the_reference_calls(
    request_for: Make, renderer: ReferenceRenderer
) -> None:
    request = request_for(lora=200, multiplier=0.7)
    for multiplier in (-0.4, 1.0, 0.7):
        renderer._prepare(request_for(lora=200, multiplier=multiplier))
    assert renderer._state is not None
    assert renderer._state._loras._factors.proved
    ours = {
        name: weight.clone() for name, weight in renderer._state.loaded.pipe.transformer.named_parameters()
    }
    fresh = ReferenceRenderer(device="cpu", engine="eager")
    fresh._prepare(request_for())
    assert fresh._state is not None
    assert request.lora is not None
    pipe = fresh._state.loaded.pipe
    pipe.load_lora_weights(
        str(request.lora.file.parent),
        weight_name=request.lora.file.name,
        adapter_name="lora",
        local_files_only=True,
    )
    pipe.fuse_lora(adapter_names=["lora"], lora_scale=0.7)
    theirs = {name.replace(".base_layer", ""): weight for name, weight in pipe.transformer.named_parameters()}
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_a_gguf_base_takes_its_lora_after_unpacking(request_for: Make, renderer: ReferenceRenderer) -> None:
    """As ComfyUI-GGUF adds it: product in fp32, rounded to the weight's dtype, and the sum rounded."""

    def weights(multiplier: float) -> dict[str, torch.Tensor]:
        request = request_for(lora=300, multiplier=multiplier)
        renderer._prepare(
            replace(request, dtype="bf16", quantize="gguf_q4_k-transformer", lora_mode="unpacked")
        )
        assert renderer._state is not None
        transformer = renderer._state.loaded.pipe.transformer
        return {name: weight.detach().clone() for name, weight in transformer.named_parameters()}

    without, made, again = weights(0.0), weights(0.7), weights(0.0)
    lora = request_for(lora=300).lora
    assert lora is not None
    factors = load_file(lora.file)
    changed = 0
    for key in (key for key in factors if "lora_A" in key):
        a, b = (factors[key.replace("lora_A", half)].float() for half in ("lora_A", "lora_B"))
        name = key.removeprefix("transformer.").replace("lora_A.", "")
        assert torch.equal(made[name], without[name] + (0.7 * (b @ a)).bfloat16())
        assert torch.equal(again[name], without[name])
        changed += not torch.equal(made[name], without[name])
    assert changed > 10


@pytest.fixture
def altered(request_for: Make, tmp_path: Path) -> Callable[..., RenderRequest]:
    """A request with a LoRA whose tensors went through ``change``."""

    def make(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> RenderRequest:
        request = request_for(lora=300)
        assert request.lora is not None
        file = tmp_path / "altered.safetensors"
        save_file(change(load_file(request.lora.file)), file)
        return replace(request, lora=Lora(file, sha256_file(file), 1.0))

    return make


def test_a_wrong_prefix_is_an_error(
    altered: Callable[..., RenderRequest], renderer: ReferenceRenderer
) -> None:
    request = altered(
        lambda tensors: {key.replace("transformer.", "unet.", 1): t for key, t in tensors.items()}
    )
    with pytest.raises(LoraError, match=r"unet\."):
        renderer.render(request)


def test_an_unknown_module_is_an_error(
    altered: Callable[..., RenderRequest], renderer: ReferenceRenderer
) -> None:
    request = altered(lambda tensors: {key.replace("blocks.0", "blocks.7"): t for key, t in tensors.items()})
    with pytest.raises(LoraError, match=r"do not fit the base: .*blocks\.7.*unknown"):
        renderer.render(request)


def test_another_width_is_an_error(
    altered: Callable[..., RenderRequest], renderer: ReferenceRenderer
) -> None:
    def widen(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rank = next(iter(tensors.values())).shape[0]
        wide = {
            "transformer.x_embedder.lora_A.weight": torch.zeros(rank, 384),
            "transformer.x_embedder.lora_B.weight": torch.zeros(128, rank),
        }
        return tensors | wide

    with pytest.raises(LoraError, match="x_embedder"):
        renderer.render(altered(widen))


def test_after_a_refused_lora_the_next_render_is_clean(
    altered: Callable[..., RenderRequest], renderer: ReferenceRenderer, request_for: Make
) -> None:
    before = renderer.render(request_for(lora=300)).image
    with pytest.raises(LoraError):
        renderer.render(altered(lambda t: {key.replace("blocks.0", "blocks.9"): v for key, v in t.items()}))
    assert np.array_equal(before, renderer.render(request_for(lora=300)).image)

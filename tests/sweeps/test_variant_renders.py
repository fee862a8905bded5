"""Requests beyond the reference's: what each field does to the pixels, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.pipeline.noise import torch_era
from harness.pipeline.renderer import ReferenceRenderer
from harness.pipeline.schedulers import SCHEDULERS
from harness.schema.render import RenderRequest, Shift

Make = Callable[..., RenderRequest]


def image(renderer: ReferenceRenderer, request: RenderRequest) -> np.ndarray:
    return renderer.render(request).image


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    mean_square = np.mean((a.astype(float) - b) ** 2)
    return float("inf") if mean_square == 0 else float(10 * np.log10(255**2 / mean_square))


def test_naming_the_defaults_changes_no_bit(renderer: ReferenceRenderer, small_request: Make) -> None:
    named = small_request(
        noise=torch_era(), lora_mode="fused", attention="native", max_sequence_length=512, divisor=32
    )
    assert np.array_equal(image(renderer, small_request()), image(renderer, named))


def test_the_other_era_is_another_picture(renderer: ReferenceRenderer, small_request: Make) -> None:
    other = "legacy" if torch_era() == "current" else "current"
    render = renderer.render(small_request(noise=other))
    assert decibels(image(renderer, small_request()), render.image) < 25
    assert render.rendered.noise == other


@pytest.mark.parametrize("mode", ["adapter", "fp32"])
def test_lora_modes_differ_by_rounding_only(
    renderer: ReferenceRenderer, small_request: Make, mode: str
) -> None:
    fused = image(renderer, small_request())
    render = renderer.render(small_request(lora_mode=mode))
    assert 33 < decibels(fused, render.image) < float("inf")
    assert render.rendered.lora_mode == mode


def test_lora_modes_agree_in_fp32(renderer: ReferenceRenderer, small_request: Make) -> None:
    images = [image(renderer, small_request(dtype="fp32", lora_mode=m)) for m in ("fused", "adapter", "fp32")]
    assert min(decibels(images[0], other) for other in images[1:]) > 55


def test_lora_mode_none_is_the_base(renderer: ReferenceRenderer, small_request: Make) -> None:
    render = renderer.render(small_request(lora_mode="none"))
    assert np.array_equal(render.image, image(renderer, small_request(lora=None)))
    assert (render.rendered.lora_mode, render.rendered.lora_sha256) == ("none", None)


def test_any_order_of_modes_and_quantization_gives_the_same_bits(
    renderer: ReferenceRenderer, small_request: Make
) -> None:
    requests = [
        small_request(),
        small_request(lora_mode="adapter"),
        small_request(quantize="qfloat8"),
        small_request(lora_mode="fp32"),
        small_request(quantize="qfloat8-te"),
    ]
    forward = [image(renderer, request) for request in requests]
    backward = [image(renderer, request) for request in reversed(requests)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert len({picture.tobytes() for picture in forward}) == len(requests)


def test_rounded_weights_take_a_lora_in_every_way(renderer: ReferenceRenderer, small_request: Make) -> None:
    modes = ("adapter", "fp32", "merged", "stochastic")
    requests = [small_request(quantize="fp8_e4m3fn-transformer", lora_mode=mode) for mode in modes]
    forward = [image(renderer, request) for request in requests]
    image(renderer, small_request(quantize="nvfp4-transformer", lora_mode="merged"))
    backward = [image(renderer, request) for request in reversed(requests)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert len({picture.tobytes() for picture in forward}) == len(modes)


def test_rotated_layers_round_what_they_are_given_and_take_a_lora_as_a_branch(
    renderer: ReferenceRenderer, small_request: Make
) -> None:
    names = ("convrot8", "convrot8_a16", "convrot4", "convrot4_a16", "convrotbitnet")
    pictures = {name: image(renderer, small_request(quantize=name)) for name in names}
    without = image(renderer, small_request(quantize="convrot8", lora_mode="none"))
    again = image(renderer, small_request(quantize="convrot8"))
    assert np.array_equal(again, pictures["convrot8"])
    assert not np.array_equal(without, again)
    assert len({picture.tobytes() for picture in pictures.values()}) == len(names)
    plain = image(renderer, small_request())
    near = [decibels(plain, pictures[name]) for name in ("convrot8", "convrot4", "convrotbitnet")]
    assert near[0] > near[1] > near[2]
    with pytest.raises(HarnessError, match=r"lora_mode: fp32: a LoRA cannot be merged .*; use adapter"):
        renderer.render(small_request(quantize="convrot8", lora_mode="fp32"))


def test_a_quantized_transformer_takes_its_lora_as_a_branch(small_request: Make) -> None:
    assert small_request(quantize="qfloat8").effective_lora_mode == "adapter"
    assert small_request(quantize="qfloat8-te").effective_lora_mode == "fused"


@pytest.mark.parametrize("mode", ["fused", "fp32"])
def test_merging_into_quantized_weights_is_one_line(
    renderer: ReferenceRenderer, small_request: Make, mode: str
) -> None:
    with pytest.raises(HarnessError, match=rf"lora_mode: {mode}: a LoRA cannot be merged .*; use adapter"):
        renderer.render(small_request(quantize="qfloat8", lora_mode=mode))


def test_prompts_are_encoded_once_and_shared_bit_for_bit(small_request: Make) -> None:
    fresh, shared = ReferenceRenderer(device="cpu"), ReferenceRenderer(device="cpu")
    shared.render(small_request(seed=1))
    again = shared.render(small_request(seed=2)).image
    assert np.array_equal(again, fresh.render(small_request(seed=2)).image)
    assert shared.prompts_encoded == 1
    shared.render(small_request(prompt="another"))
    shared.render(small_request(quantize="qfloat8-te"))
    shared.render(small_request(max_sequence_length=64))
    assert shared.prompts_encoded == 4


@pytest.mark.parametrize("name", [choice.name for choice in SCHEDULERS.values() if choice.applicable])
def test_every_scheduler_renders_and_repeats(
    renderer: ReferenceRenderer, small_request: Make, name: str
) -> None:
    seen: list[tuple[int, int]] = []
    request = small_request(scheduler=name)
    render = renderer.render(request, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == SCHEDULERS[name].evaluations(request.sample_steps)
    assert render.rendered.scheduler == name
    assert np.array_equal(render.image, image(renderer, request))


def test_shift_counts_only_without_dynamic_shifting(renderer: ReferenceRenderer, small_request: Make) -> None:
    plain = image(renderer, small_request())
    assert np.array_equal(plain, image(renderer, small_request(shift=Shift(shift=7.0))))
    static = small_request(shift=Shift(shift=7.0, dynamic_shifting=False))
    assert not np.array_equal(plain, image(renderer, static))


@pytest.mark.parametrize(
    ("divisor", "size"), [(8, (80, 96)), (16, (80, 96)), (32, (64, 96)), (None, (64, 96))]
)
def test_divisor(
    renderer: ReferenceRenderer, small_request: Make, divisor: int, size: tuple[int, int]
) -> None:
    rendered = renderer.render(small_request(width=88, height=104, divisor=divisor)).rendered
    assert (rendered.width, rendered.height) == size


def test_stopping_early_shows_the_image_to_come(renderer: ReferenceRenderer, small_request: Make) -> None:
    long = small_request(sample_steps=8)
    end = image(renderer, long)
    early, late = (image(renderer, dataclasses.replace(long, stop_after=k)) for k in (2, 7))
    assert decibels(end, early) < decibels(end, late)
    assert np.array_equal(end, image(renderer, dataclasses.replace(long, stop_after=8)))


def test_an_unknown_attention_backend_is_one_line(renderer: ReferenceRenderer, small_request: Make) -> None:
    with pytest.raises(HarnessError, match=r"attention: unknown backend 'nativ'; choose .*native"):
        renderer.render(small_request(attention="nativ"))


def test_without_quanto_the_line_that_installs_it(
    renderer: ReferenceRenderer, small_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optimum.quanto", None)
    fresh = ReferenceRenderer(device="cpu")
    with pytest.raises(HarnessError, match="pip install optimum-quanto"):
        fresh.render(small_request(quantize="qfloat8"))

"""Layers of the trainer's convrot quantizers: what they compute, and which layers there are none for."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.pipeline.quantize import quantize_part
from harness.precision.convrot import rotated
from harness.precision.convrot_layers import RotatedLinear, _integer_product
from harness.precision.trainer_formats import nvfp4_rows
from harness.schema.quantizers import ACTIVATIONS_LEFT, QUANTIZERS
from tests.precision.exact_layers import layer, whole_numbers

KNOWN = {
    "convrot8": ("669a0e94f570a656", 0.00396, 0.00318),
    "convrot4": ("ba0afb62ba360cb4", 0.04357, 0.02773),
    "convrotbitnet": ("cc3ab5ec381c9f16", 0.14002, 0.13999),
    "convrotint2": ("cc3ab5ec381c9f16", 0.14002, 0.13999),
    "convrotint3": ("b77782c7f0decbb6", 0.06910, 0.06904),
    "convrotint4": ("77e1540cf7cdc2f8", 0.03596, 0.03590),
    "convrotint5": ("318c8cbe62fe6f2e", 0.01671, 0.01656),
    "convrotint6": ("1367aadc70646f69", 0.00876, 0.00838),
    "convrotint7": ("315c9ab23791575e", 0.00568, 0.00518),
}
"""Answers of the trainer's own convrot_quant.py, AI Toolkit 0.12.26, to ``layer`` and ``given``: SHA-256 of
the output, its relative error, and that of its layer on a CPU.

The last is what its converted layer returned. The first two are its CUDA path, put together on a CPU: its
kernel that rounds activations in triton's interpreter, torch._int_mm with its codes, and its scales and bias
in the order of its last kernel; for convrot4 its own nvfp4 of both sides, multiplied in fp64, rounded to
bf16, scaled. The numbers are such that no sum on the way depends on its order.
"""


def quantized(name: str, *layers: nn.Linear) -> nn.Sequential:
    part = nn.Sequential(*layers)
    quantize_part(part, name)
    return part


@pytest.fixture(scope="module")
def given() -> torch.Tensor:
    """40 rows: a feature of outliers, and a row of zeros."""
    rows = whole_numbers(3, 40, 192) / 4
    rows[:, 5] *= 16
    rows[7] = 0
    return rows.bfloat16()


def error(made: torch.Tensor, given: torch.Tensor) -> float:
    wanted = layer()(given).double()
    return float((made.double() - wanted).norm() / wanted.norm())


def test_every_name_has_an_answer() -> None:
    rotating = {name for name, each in QUANTIZERS.items() if each.is_rotated}
    assert rotating == {*KNOWN, *(f"{name}{ACTIVATIONS_LEFT}" for name in KNOWN)}


@pytest.mark.parametrize("name", KNOWN)
@torch.inference_mode()
def test_an_output_has_the_bits_of_the_trainers_kernels(name: str, given: torch.Tensor) -> None:
    made = quantized(name, layer())(given.view(2, 20, 192))
    assert made.shape == (2, 20, 64)
    assert made.dtype == torch.bfloat16
    assert error(made.view(40, 64), given) == pytest.approx(KNOWN[name][1], rel=2e-3)
    found = hashlib.sha256(made.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
    assert found.startswith(KNOWN[name][0])


@pytest.mark.parametrize("name", KNOWN)
@torch.inference_mode()
def test_activations_are_left_as_the_trainers_layer_leaves_them(name: str, given: torch.Tensor) -> None:
    (made,) = quantized(f"{name}{ACTIVATIONS_LEFT}", layer())
    assert error(made(given), given) == pytest.approx(KNOWN[name][2], rel=0.02)
    assert torch.equal(made(given), functional.linear(rotated(given), made.weight, made.bias))


@torch.inference_mode()
def test_a_layer_without_a_bias_adds_none(given: torch.Tensor) -> None:
    for name in ("convrot8", "convrot4", "convrot8_a16"):
        bare = nn.Linear(192, 64, bias=False, dtype=torch.bfloat16)
        bare.weight.data = layer().weight.data
        with_bias = quantized(name, layer())
        with_bias[0].bias = nn.Parameter(torch.zeros(64, dtype=torch.bfloat16))
        assert torch.equal(quantized(name, bare)(given), with_bias(given))


@pytest.mark.parametrize(("rows", "width"), [(1, 16), (3, 1024), (33, 3072), (2, 4112)])
def test_integers_are_multiplied_exactly(rows: int, width: int) -> None:
    draw = torch.Generator().manual_seed(width)
    left = torch.randint(-127, 128, (rows, width), generator=draw, dtype=torch.int8)
    right = torch.randint(-127, 128, (8, width), generator=draw, dtype=torch.int8)
    left[0], right[0], right[1] = 127, 127, -127
    found = _integer_product(left, right)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), left.long() @ right.long().T)


def test_activations_of_four_bits_are_on_their_grid() -> None:
    rows = torch.randn(4, 64, generator=torch.Generator().manual_seed(5)).bfloat16()
    rows[2, :16] = 0
    rows[3] = 1e4  # a block's scale is float8 e4m3, 448 at most
    made = nvfp4_rows(rows)
    assert torch.equal(nvfp4_rows(made)[:3], made[:3])
    assert torch.equal(made[2, :16], torch.zeros(16, dtype=torch.bfloat16))
    assert torch.equal(made[3], torch.full((64,), 2688.0, dtype=torch.bfloat16))
    assert 0.02 < float((made[:3] - rows[:3]).float().norm() / rows[:3].float().norm()) < 0.2


@pytest.mark.parametrize(
    ("width", "outputs", "takers"),
    [
        (196, 64, set()),  # Flex.2's first layer
        (192, 20, set()),
        (192, 24, {"convrot8", "convrotint4", "convrotbitnet"}),
        (16, 16, {"convrot8", "convrotint4", "convrotbitnet", "convrot4"}),
    ],
)
def test_which_sizes_of_layers_are_taken(width: int, outputs: int, takers: set[str]) -> None:
    for name in ("convrot8", "convrotint4", "convrotbitnet", "convrot4", "convrot4_a16"):
        plain = layer(width, outputs)
        (made,) = quantized(name, plain)
        assert isinstance(made, RotatedLinear) == (name.removesuffix(ACTIVATIONS_LEFT) in takers)
        assert isinstance(made, RotatedLinear) or made is plain


def test_an_input_keeps_its_length_under_the_rotation() -> None:
    for width in (16, 80, 192, 768):
        rows = torch.randn(3, 5, width, generator=torch.Generator().manual_seed(width))
        assert torch.allclose(rotated(rows).norm(dim=-1), rows.norm(dim=-1), rtol=1e-5)
        assert torch.allclose(rotated(rotated(rows)), rows, atol=1e-5)
        assert not torch.allclose(rotated(rows), rows, atol=0.1)

"""The trainer's orbit quantizers: the weights that they store, and layers that turn their input."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.pipeline.quantize import quantize_part
from harness.precision.audit import audit
from harness.precision.orbit import normal_levels, orbit, turned, turned_back
from harness.precision.orbit_layers import TurnedLinear
from harness.precision.rounding import rounded
from harness.schema.quantizers import QUANTIZERS
from tests.precision.exact_layers import layer, whole_numbers

NAMES = [name for name, each in QUANTIZERS.items() if each.is_orbit]
KNOWN = {
    "orbit2": ("26e4159e6265bd61", "bd96e36f8c233cb4", 0.08522),
    "orbit3": ("cfdc8961161f1be4", "d2c72b98e4f5a026", 0.04566),
    "orbit4": ("512f5aa972a3c210", "e4644926ef3fc803", 0.02354),
}
"""Answers of the trainer's own orbit_quant.py, AI Toolkit 0.12.26, to ``layer``: SHA-256 of the turned weight
in bf16, of the weight that its ``dequantize`` returns in fp32, and the error of its layer's output.

The numbers are such that no sum on the way to the weights depends on its order.
"""


def given() -> torch.Tensor:
    return (whole_numbers(3, 2, 20, 192) / 4).bfloat16()


def sha(made: torch.Tensor) -> str:
    return hashlib.sha256(made.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def error(made: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((made.double() - wanted.double()).norm() / wanted.double().norm())


def test_every_name_has_an_answer() -> None:
    assert set(NAMES) == set(KNOWN)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_weights_have_the_bits_of_the_trainers(name: str) -> None:
    plain = layer()
    part = nn.Sequential(layer())
    quantize_part(part, name)
    assert isinstance(part[0], TurnedLinear)
    assert sha(part[0].weight) == KNOWN[name][0]
    assert sha(orbit(name, plain.weight.data, torch.bfloat16)) == KNOWN[name][1]
    made = part(given())
    assert made.shape == (2, 20, 64)
    assert error(made, plain(given())) == pytest.approx(KNOWN[name][2], rel=0.02)
    assert torch.equal(made, functional.linear(turned(given()), part[0].weight, part[0].bias))


@pytest.mark.parametrize("width", [192, 256, 3072])
def test_turning_back_undoes_turning(width: int) -> None:
    rows = torch.randn(3, width, generator=torch.Generator().manual_seed(width))
    assert torch.allclose(turned_back(turned(rows)), rows, atol=1e-5)
    assert torch.allclose(turned(rows).norm(dim=1), rows.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_levels_are_the_means_of_what_they_stand_for(bits: int) -> None:
    levels = normal_levels(bits).double()
    draws = torch.randn(2_000_000, generator=torch.Generator().manual_seed(bits), dtype=torch.float64)
    place = torch.bucketize(draws, (levels[1:] + levels[:-1]) / 2)
    means = torch.zeros(len(levels), dtype=torch.float64).index_add_(0, place, draws) / place.bincount()
    assert torch.allclose(levels, means, atol=0.02)


def test_rows_are_rounded_each_for_itself() -> None:
    weight = torch.randn(64, 192, generator=torch.Generator().manual_seed(3)).mul(0.02).bfloat16()
    for name in NAMES:
        assert torch.equal(rounded(name, weight[16:32]), rounded(name, weight)[16:32])


@pytest.mark.parametrize("width", [16, 196])
def test_a_width_that_the_trainer_leaves_is_left(width: int) -> None:
    weight = torch.randn(8, width)
    assert torch.equal(rounded("orbit2", weight), weight)
    part = nn.Sequential(nn.Linear(width, 8))
    quantize_part(part, "orbit2")
    assert type(part[0]) is nn.Linear


def test_layers_that_are_left_out_stay() -> None:
    part = nn.ModuleDict({"first": layer(), "second": layer()})
    quantize_part(part, "orbit3", ("second",))
    assert isinstance(part["first"], TurnedLinear)
    assert type(part["second"]) is nn.Linear


def test_an_audit_rounds_as_the_trainer_does(jobs: dict[str, Path], tiny: Path) -> None:
    lora = max(jobs["inkprint"].glob("*.safetensors"))
    found = audit(lora, base=tiny, quantizers=NAMES, rows=16)
    assert not found.left_out
    shares = [found.total[name, "merged"].share for name in ("orbit4", "orbit3", "orbit2")]
    assert shares == sorted(shares, reverse=True)

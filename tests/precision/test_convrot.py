"""The trainer's convrot quantizers, weights alone: the rotation, and the grids on which it is rounded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.precision.audit import audit
from harness.precision.convrot import convrot, largest_rotated, rotation
from harness.precision.rounding import rounded
from harness.schema.quantizers import ACTIVATIONS_LEFT, QUANTIZERS

NAMES = [name for name, each in QUANTIZERS.items() if each.is_rotated]
ERRORS = {
    "convrot8": 0.00677,
    "convrot4": 0.08624,
    "convrotbitnet": 0.42911,
    "convrotint7": 0.01345,
    "convrotint6": 0.02473,
    "convrotint5": 0.04859,
    "convrotint4": 0.09993,
    "convrotint3": 0.20438,
    "convrotint2": 0.42911,
}
"""Relative errors of the trainer's own code, AI Toolkit 0.12.26, on these weights; its bits are the same."""


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    return torch.randn(64, 192, generator=torch.Generator().manual_seed(3)) * 0.02


def turned(weight: torch.Tensor) -> torch.Tensor:
    """Rotate as a width of 192 is: 64 at a time."""
    return (weight.reshape(-1, 3, 64) @ rotation(64)).reshape(weight.shape)


@pytest.mark.parametrize("size", [16, 64, 256])
def test_the_rotation_is_a_regular_hadamard_matrix(size: int) -> None:
    made = rotation(size)
    assert torch.equal(made, made.T)
    assert torch.equal(made @ made, torch.eye(size))
    assert torch.equal(made.abs(), torch.full((size, size), size**-0.5))
    assert torch.equal(made.sum(1), torch.ones(size))


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_that_of_the_trainers_code(name: str, weight: torch.Tensor) -> None:
    made = convrot(name, weight)
    assert float((made - weight).norm() / weight.norm()) == pytest.approx(
        ERRORS[name.removesuffix(ACTIVATIONS_LEFT)], rel=1e-3
    )


def test_eight_bits_are_a_grid_of_each_rotated_row(weight: torch.Tensor) -> None:
    scale = turned(weight).abs().amax(1, keepdim=True) / 127
    codes = turned(convrot("convrot8", weight)) / scale
    assert torch.allclose(codes, codes.round(), atol=1e-3)
    assert torch.equal(codes.round(), (turned(weight) / scale).round())


def test_three_values_are_those_of_two_bits(weight: torch.Tensor) -> None:
    made = convrot("convrotint2", weight)
    assert torch.equal(made, convrot("convrotbitnet", weight))
    groups = turned(made).reshape(-1, 3, 64)
    largest = groups.abs().amax(-1, keepdim=True)
    assert torch.allclose(groups.abs() * (groups.abs() - largest), torch.zeros(()), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_rounded_each_for_itself(name: str, weight: torch.Tensor) -> None:
    part = rounded(name, weight[16:32], largest_rotated(weight))
    assert torch.allclose(part, rounded(name, weight)[16:32], atol=1e-8)


@pytest.mark.parametrize("width", [20, 196])
def test_a_width_that_the_trainer_leaves_is_left(width: int) -> None:
    weight = torch.randn(8, width)
    assert convrot("convrotint3", weight) is weight


def test_an_audit_rounds_weights_alone(jobs: dict[str, Path], tiny: Path) -> None:
    lora = max(jobs["inkprint"].glob("*.safetensors"))
    found = audit(
        lora, base=tiny, quantizers=("convrotint7", "convrotint4", "convrot4", "convrot4_a16"), rows=16
    )
    assert not found.left_out
    for way in ("fused", "merged"):
        assert found.total["convrot4", way].share == found.total["convrot4_a16", way].share
    coarse, fine = (found.total[f"convrotint{bits}", "merged"].share for bits in (4, 7))
    assert coarse < fine - 0.05
    assert found.total["convrotint4", "fused"].share == pytest.approx(1, abs=0.1)

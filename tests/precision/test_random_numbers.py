"""Random numbers of one layer: drawn once, and at another place for each piece."""

from __future__ import annotations

import torch

from harness.precision.random_numbers import RandomNumbers


def test_pieces_of_any_size_get_numbers_of_their_shape() -> None:
    numbers = RandomNumbers("cpu")
    for shape in ((64, 48), (16, 48), (96, 48)):
        made = numbers.like(torch.empty(shape, dtype=torch.bfloat16))
        assert made.shape == shape
        assert made.dtype == torch.float32
        assert made.min() >= 0
        assert made.max() < 1
        assert abs(made.mean() - 0.5) < 0.05


def test_no_number_keeps_its_place() -> None:
    numbers, rows = RandomNumbers("cpu"), torch.empty(64, 64)
    mean = torch.stack([numbers.like(rows) for _ in range(64)]).mean(0)
    assert mean.std() < 1.5 * (1 / 12 / 64) ** 0.5


def test_every_layer_has_the_same() -> None:
    first, second = (RandomNumbers("cpu") for _ in range(2))
    for rows in (torch.empty(8, 16), torch.empty(4, 16)):
        assert torch.equal(first.like(rows), second.like(rows))

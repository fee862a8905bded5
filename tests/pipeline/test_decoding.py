"""From the decoder's numbers to pixels: the bits of diffusers' own image processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor

from harness.pipeline.decoding import to_images

PROCESSOR = VaeImageProcessor(vae_scale_factor=16)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=CUDA)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pictures(values: torch.Tensor, batch: int = 1) -> torch.Tensor:
    """Return values as batch × 3 × H × 64, the last of them repeated to fill it."""
    size = 3 * 64 * batch
    filled = torch.cat([values, values[-1:].expand(-len(values) % size)])
    return filled.view(batch, 3, -1, 64)


def check(decoded: torch.Tensor) -> None:
    theirs = PROCESSOR.postprocess(decoded)
    ours = to_images(PROCESSOR, decoded)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.mode, one.size) == (other.mode, other.size)
        assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_half_number(device: str, dtype: torch.dtype) -> None:
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(dtype)
    check(pictures(every[~every.isnan()]).to(device))


def test_single_numbers_near_every_border_between_two_levels(device: str) -> None:
    borders = (torch.arange(-40, 296).double() + 0.5) / 255 * 2 - 1
    near = borders.float().view(torch.int32)[:, None] + torch.arange(-200, 201, dtype=torch.int32)
    values = near.flatten().view(torch.float32)
    check(pictures(values[~values.isnan()]).to(device))


def test_random_single_numbers_of_a_batch(device: str) -> None:
    values = torch.rand(2_000_000, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    check(pictures(values, batch=2).to(device))


def test_what_is_not_a_number_still_warns(device: str) -> None:
    values = torch.linspace(-1, 1, 192)
    values[5] = torch.nan
    with pytest.warns(RuntimeWarning, match="invalid value"):
        to_images(PROCESSOR, pictures(values).to(device))

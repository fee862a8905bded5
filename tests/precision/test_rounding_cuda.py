"""Quantizers on a GPU: the libraries' CUDA kernels give the bits that are computed on the CPU."""

from __future__ import annotations

import pytest
import torch

from harness.precision.availability import missing
from harness.precision.rounding import rounded
from harness.schema.quantizers import QUANTIZERS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

NAMES = [name for name, each in QUANTIZERS.items() if each.refused is None and name not in {"qint4", "qint2"}]


@pytest.mark.parametrize("spread", [0.02, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_cuda_kernels_have_the_bits_of_the_cpu(name: str, spread: float) -> None:
    if (why := missing(name)) is not None:
        pytest.skip(why)
    weight = torch.randn(1536, 3072, generator=torch.Generator().manual_seed(1)).mul(spread).bfloat16()
    weight[:, 7] *= 12  # a column of outliers, as transformers have
    other = (rounded(name, weight) != rounded(name, weight.cuda()).cpu()).sum().item()
    assert other == 0, f"{other} of {weight.numel()} weights differ"

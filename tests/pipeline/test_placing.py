"""Copying weights in pieces: every byte arrives, whatever the shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from harness.pipeline.copying import FileBytes, copy_all
from harness.pipeline.placing import place


def test_every_byte_arrives() -> None:
    sources = [torch.randn(300, 7).bfloat16(), torch.tensor(3.5), torch.arange(1000), torch.empty(0)]
    there = [torch.zeros_like(source) for source in sources]
    copy_all(zip(sources, there, strict=True), piece=64)
    assert all(map(torch.equal, sources, there))


def test_every_byte_arrives_from_a_file(tmp_path: Path) -> None:
    numbers = torch.randn(301, 7).bfloat16()
    file = tmp_path / "weights"
    file.write_bytes(b"head" + numbers.view(torch.uint8).numpy().tobytes())
    there = torch.zeros_like(numbers)
    with file.open("rb") as stream:
        copy_all([(FileBytes(stream.fileno(), 4), there)], piece=64)
        assert torch.equal(numbers, there)
        with pytest.raises(OSError, match="became shorter"):
            copy_all([(FileBytes(stream.fileno(), 5), there)], piece=64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_model_is_placed_with_shared_and_turned_weights() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm1d(8))
    model[1].weight = model[0].weight
    model[0].bias.data = torch.arange(16.0)[::2]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    place([model], "cuda")
    model.to("cuda")
    assert model[1].weight is model[0].weight
    after = model.state_dict()
    assert all(value.is_cuda and torch.equal(value.cpu(), before[name]) for name, value in after.items())

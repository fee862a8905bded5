"""Weights that LoRAs change, read again from the base's files: the same bits, or one line that says why."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness._util import unchanged_files
from harness.errors import CheckpointError
from harness.pipeline import originals
from harness.pipeline.renderer import ReferenceRenderer
from harness.pipeline.stored_weights import read_stored
from harness.schema.base import Base
from harness.schema.render import RenderRequest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mapped where")
Make = Callable[..., RenderRequest]
Patch = pytest.MonkeyPatch
FILE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def settled(monkeypatch: Patch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(unchanged_files, "SETTLED", 0.0)


def held(renderer: ReferenceRenderer) -> tuple[set[str], set[str]]:
    """Return the names of weights that are copied, and of those that are read again."""
    assert renderer._state is not None
    saved = renderer._state._loras._originals
    return set(saved._copies), set(saved._stored)


def weights(renderer: ReferenceRenderer, request: RenderRequest) -> dict[str, torch.Tensor]:
    """Return the transformer's weights for ``request``."""
    loaded = renderer._prepare(request).loaded
    return {name: weight.data.clone() for name, weight in loaded.pipe.transformer.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether every bit is equal."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def leave_the_file(renderer: ReferenceRenderer) -> None:
    """Take the transformer's weights out of the mapped file, as placing them on a GPU does."""
    assert renderer._state is not None
    for weight in renderer._state.loaded.pipe.transformer.parameters():
        weight.data = weight.data.clone()


def sequence(make: Make, **changes: object) -> list[RenderRequest]:
    """Another LoRA, other multipliers, the second of them proved, and none."""
    return [
        make(lora=300, multiplier=0.5, **changes),
        make(lora=300, multiplier=1.0, **changes),
        make(lora=300, multiplier=-0.7, **changes),
        make(lora=100, **changes),
        make(**changes),
        make(lora=300, multiplier=0.5, **changes),
    ]


def test_weights_are_restored_from_the_file_bit_for_bit(
    request_for: Make,
    renderer: ReferenceRenderer,
    offloading: ReferenceRenderer,
    monkeypatch: Patch,
) -> None:
    monkeypatch.setattr(originals, "BATCH", 100_000)
    for number, request in enumerate(sequence(request_for)):
        assert same(weights(offloading, request), weights(renderer, request))
        assert offloading._state is not None
        assert offloading._state._loras._factors.proved == (number in {1, 2})
    assert np.array_equal(offloading.render(request).image, renderer.render(request).image)
    copied, stored = held(offloading)
    assert not copied
    assert len(stored) > 10
    _, of_plain = held(renderer)
    assert not of_plain, "where a copy fits beside the weights it is faster"


def test_every_weight_is_found_and_read(request_for: Make, offloading: ReferenceRenderer) -> None:
    loaded = offloading._prepare(request_for()).loaded
    expected = weights(offloading, request_for())
    assert set(loaded.stored) == set(expected)
    there = {name: torch.zeros_like(weight) for name, weight in expected.items()}
    read_stored((loaded.stored[name], tensor) for name, tensor in there.items())
    assert same(there, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_of_another_dtype_is_copied(
    base: Path,
    dtype: torch.dtype,
    request_for: Make,
    renderer: ReferenceRenderer,
    offloading: ReferenceRenderer,
    settled: None,
) -> None:
    save_file({name: weight.to(dtype) for name, weight in load_file(base / FILE).items()}, base / FILE)
    for request in sequence(request_for, base=Base(path=str(base)), dtype="bf16")[::2]:
        assert same(weights(offloading, request), weights(renderer, request))
    copied, stored = held(offloading)
    assert copied
    assert not stored


def test_a_file_that_was_just_written_is_not_relied_on(
    base: Path, request_for: Make, offloading: ReferenceRenderer
) -> None:
    os.utime(base / FILE)
    offloading._prepare(request_for(lora=300, base=Base(path=str(base))))
    copied, stored = held(offloading)
    assert copied
    assert not stored


def replaced(file: Path) -> None:
    other = shutil.copy(file, file.with_suffix(".new"))
    Path(other).replace(file)


def written(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-2, os.SEEK_END)
        stream.write(b"\0\0")


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("change", [replaced, written, cut, Path.unlink])
def test_a_base_that_changed_since_is_refused_in_one_line(
    change: Callable[[Path], None],
    base: Path,
    request_for: Make,
    offloading: ReferenceRenderer,
    settled: None,
) -> None:
    first, second, *_ = sequence(request_for, base=Base(path=str(base)))
    before = weights(offloading, first)
    leave_the_file(offloading)
    change(base / FILE)
    with pytest.raises(CheckpointError) as caught:
        offloading.render(second)
    line = str(caught.value)
    assert line.startswith(str(base / FILE))
    assert line.endswith("; repeat the command")
    assert "\n" not in line
    assert offloading.holds() == []
    if change in {replaced, written}:
        assert same(weights(offloading, first), before) == (change is replaced), "it was loaded anew"


def test_a_file_that_became_shorter_while_it_is_read(
    base: Path,
    request_for: Make,
    offloading: ReferenceRenderer,
    settled: None,
    monkeypatch: Patch,
) -> None:
    first = request_for(lora=300, base=Base(path=str(base)))
    loras = offloading._prepare(first)._loras
    leave_the_file(offloading)
    state = unchanged_files.file_state(base / FILE)
    cut(base / FILE)
    with monkeypatch.context() as patch:  # it is cut after the check before the reading
        states = iter([state, unchanged_files.file_state(base / FILE)])
        patch.setattr("harness.pipeline.stored_weights.file_state", lambda _: next(states))
        with pytest.raises(CheckpointError, match="was changed after it was loaded"):
            loras.apply(None)
    with pytest.raises(CheckpointError, match="was changed after it was loaded"):
        loras.apply(None)  # what the failed one left is not taken for the base


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("offload", ["none", "model"])
def test_on_a_gpu_without_room_for_a_copy(offload: str, request_for: Make, monkeypatch: Patch) -> None:
    plain = ReferenceRenderer(device="cuda", offload="none", engine="eager")
    requests = sequence(request_for)
    wanted = [plain.render(request).image for request in requests]
    monkeypatch.setattr(originals, "free_memory", lambda: 0)
    tight = ReferenceRenderer(device="cuda", offload=offload, engine="eager")  # type: ignore[arg-type]
    for request, image in zip(requests, wanted, strict=True):
        assert np.array_equal(tight.render(request).image, image)
    copied, stored = held(tight)
    assert not copied
    assert stored

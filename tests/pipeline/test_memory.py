"""Which offload mode a base gets, and what happens when the GPU's memory does not suffice after all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import RenderError
from harness.pipeline import renderer as render
from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.offload import GIB, WORKING, choose_offload, memory_line, needs, next_offload
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
from harness.schema.render import Offload, RenderRequest
from harness.schema.spec import FLEX2

Make = Callable[..., RenderRequest]
FULL: dict[Offload, int] = {"none": 31 * GIB, "model": 19 * GIB}


def test_a_base_needs_its_weights_and_working_space(tiny: Path) -> None:
    sizes = {file.parent.name: file.stat().st_size for file in tiny.glob("*/*.safetensors")}
    needed = needs(find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2))
    assert needed["none"] == sum(sizes.values()) + WORKING
    assert needed["model"] == sizes["transformer"] + sizes["vae"] + WORKING
    assert needs(find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2), 2 << 20)["none"] > 2 * WORKING


@pytest.mark.parametrize(
    ("wanted", "free", "chosen"),
    [("auto", 78, "none"), ("auto", 24, "model"), ("auto", 12, "sequential"), ("none", 12, "none")],
)
def test_free_memory_decides_unless_a_mode_is_asked_for(wanted: Offload, free: int, chosen: Offload) -> None:
    assert choose_offload(wanted, FULL, free * GIB) == chosen
    line = memory_line("base", FULL, free * GIB, wanted)
    assert line == (
        "base needs about 31.0 GiB with offload none, 19.0 GiB with offload model; "
        f"{free}.0 GiB of GPU memory are free: offload {chosen}"
    )
    fits = free == 78
    where = ", 46.0 GiB with a copy" if fits else ", and in main memory a copy"
    copied = memory_line("base", FULL, free * GIB, wanted, 15 * GIB)
    assert copied.startswith(f"{line}{where} of the weights that LoRAs change")
    reread = memory_line("base", FULL, free * GIB, wanted, 15 * GIB, reread=True)
    again = f"{line}; the weights that LoRAs change, 15.0 GiB, are read again from the base"
    assert reread == (copied if fits else again)


def test_each_mode_falls_back_to_the_next() -> None:
    assert [next_offload(mode) for mode in ("none", "model", "sequential")] == ["model", "sequential", None]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds at which the GPU runs out of memory, each once for every time that it stands there."""
    seeds: list[int] = []
    real = render.infer

    def call(loaded: Any, request: RenderRequest, *more: Any) -> Any:
        if request.seed in seeds:
            seeds.remove(request.seed)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(loaded, request, *more)

    monkeypatch.setattr(render, "infer", call)
    return seeds


def test_out_of_memory_falls_back_once_and_says_so(request_for: Make, full: list[int]) -> None:
    renderer = ReferenceRenderer(device="cpu", engine="eager")
    before = renderer.render(request_for())
    assert before.warnings == ()
    full += [5]
    after = renderer.render(request_for())
    assert np.array_equal(before.image, after.image)
    assert after.warnings == ("out of GPU memory with offload none; went on with offload model",)
    assert renderer._offload == "model"
    assert renderer.render(request_for(seed=7)).warnings == after.warnings, "later rows say it too"
    full += [7]
    with pytest.raises(RenderError, match=r"does not suffice .* CUDA out of memory"):
        renderer.render(request_for(seed=7))


def test_two_failures_in_a_row_are_a_failed_render(request_for: Make, full: list[int]) -> None:
    full += [5, 5]
    with pytest.raises(RenderError, match="does not suffice with offload model"):
        ReferenceRenderer(device="cpu", engine="eager").render(request_for())

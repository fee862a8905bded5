"""The exact engine on the CPU: proof, fallback and what never tries it; one compiler that needs no g++."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.runtime.cache_dir_utils import cache_dir

from harness.pipeline.engine import compiled as fast
from harness.pipeline.engine import kernel_cache as cache
from harness.pipeline.engine.exact import Engine, why_eager
from harness.pipeline.engine.norms import layer_norm, rms_norm
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
from harness.schema.render import RenderRequest

Make = Callable[..., RenderRequest]


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ReferenceRenderer:
    """A renderer that must try, with a compiler that traces whole blocks and runs eager's kernels."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "kernels"))
    monkeypatch.setattr(fast.torch, "compile", _trace)
    return ReferenceRenderer(device="cpu", engine="exact")


def _trace(forward: Callable[..., Any], *, options: dict[str, Any], **more: Any) -> Any:
    return torch._dynamo.optimize("aot_eager", nopython=more["fullgraph"])(forward)


def engine_of(renderer: ReferenceRenderer) -> Any:
    assert renderer._state is not None
    return renderer._state._engine


def test_fast_is_proved_once_for_every_shape_and_weights(
    exact: ReferenceRenderer, request_for: Make, renderer: ReferenceRenderer
) -> None:
    requests = [
        request_for(),
        request_for(seed=6),
        request_for(lora=300),
        request_for(lora=300, multiplier=0.5),
        request_for(),
        request_for(width=96),
    ]
    proofs = []
    for request in requests:
        found = exact.render(request)
        assert np.array_equal(found.image, renderer.render(request).image)
        assert (found.rendered.engine, found.rendered.engine_reason) == ("exact", "")
        assert found.warnings == ()
        proofs.append(len(engine_of(exact)._proved))
    assert proofs == [1, 1, 2, 3, 3, 4]


def test_blocks_of_one_kind_share_what_is_compiled(exact: ReferenceRenderer, request_for: Make) -> None:
    torch._dynamo.reset()
    before = counters["stats"]["unique_graphs"]
    exact.render(request_for(base=Base(embedded="tiny-flex2")))  # it has several blocks of both kinds
    blocks = [
        module
        for module in engine_of(exact)._transformer.modules()
        if type(module).__name__ in engine_of(exact)._transformer._repeated_blocks
    ]
    kinds_and_layouts = 3  # the first single block gets its input from another kind: other strides
    assert counters["stats"]["unique_graphs"] - before == kinds_and_layouts < len(blocks)


def test_other_bits_are_never_used(
    exact: ReferenceRenderer, request_for: Make, renderer: ReferenceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly(forward: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def moved(*args: Any, **kwargs: Any) -> Any:
            first, second = forward(*args, **kwargs)
            return first, second + torch.finfo(second.dtype).eps * second

        return moved

    monkeypatch.setattr(fast.torch, "compile", nearly)
    for request in (request_for(), request_for(lora=300)):
        found = exact.render(request)
        assert np.array_equal(found.image, renderer.render(request).image)
        assert found.rendered.engine == "eager"
        assert "gave other bits than eager" in found.rendered.engine_reason
        assert found.warnings == (f"rendered eagerly: {found.rendered.engine_reason}",)


def test_a_compiler_that_fails_is_a_warning(
    exact: ReferenceRenderer, request_for: Make, renderer: ReferenceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler\nwas found")

    monkeypatch.setattr(fast.torch, "compile", absent)
    found = exact.render(request_for())
    assert np.array_equal(found.image, renderer.render(request_for()).image)
    assert found.rendered.engine_reason == "the exact engine failed (RuntimeError: no compiler)"


def test_what_fails_after_its_proof_is_rendered_eagerly_to_its_end(
    exact: ReferenceRenderer, request_for: Make, renderer: ReferenceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact.render(request_for())
    calls = iter([None, RuntimeError("lost the device")])
    real = fast.FastTransformer.__call__

    def fails(self: fast.FastTransformer, key: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if (error := next(calls)) is not None:
            raise error
        return real(self, key, inputs)

    monkeypatch.setattr(fast.FastTransformer, "__call__", fails)
    found = exact.render(request_for(seed=6))
    assert np.array_equal(found.image, renderer.render(request_for(seed=6)).image)
    assert found.rendered.engine == "eager"


def test_who_is_eager_without_trying(request_for: Make) -> None:
    plain, lora = request_for(), request_for(lora=300)
    cases = {
        "asked for": ("eager", plain, "cuda", "none"),
        "the exact engine is for CUDA": ("auto", plain, "cpu", "none"),
        "weights are offloaded (sequential)": ("exact", plain, "cuda", "sequential"),
        "the transformer is quantized": (
            "auto", dataclasses.replace(plain, quantize="qfloat8"), "cuda", "none",
        ),
        "the LoRA is a live adapter": (
            "auto", dataclasses.replace(lora, lora_mode="adapter"), "cuda", "none",
        ),
        "attention _native_math was asked for": (
            "auto", dataclasses.replace(plain, attention="_native_math"), "cuda", "none",
        ),
    }  # fmt: skip
    for reason, arguments in cases.items():
        assert why_eager(*arguments) == reason  # type: ignore[arg-type]
    assert why_eager("auto", plain, "cuda", "none") is None
    assert why_eager("auto", lora, "cuda", "model") is None
    assert why_eager("exact", dataclasses.replace(lora, quantize="qfloat8-te"), "cpu", "none") is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_opaque_norm_is_the_eager_norm(dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 24, dtype=dtype).split([12, 12], dim=2)[1]
    weight = torch.randn(12, dtype=dtype)
    functional = torch.nn.functional
    assert torch.equal(
        layer_norm(x, [12], weight, None, 1e-6), functional.layer_norm(x, [12], weight, None, 1e-6)
    )
    assert torch.equal(rms_norm(x, [12], weight, 1e-6), functional.rms_norm(x, [12], weight, 1e-6))
    torch.library.opcheck(layer_norm, (x, [12], weight, None, 1e-6), test_utils="test_faketensor")
    torch.library.opcheck(rms_norm, (x, [12], weight, 1e-6), test_utils="test_faketensor")


def test_another_torch_has_another_folder_of_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    first = cache.use_cache("cpu")
    assert first.parent == tmp_path
    assert os.environ[cache.VARIABLE] == str(first)
    assert cache.use_cache("cpu") == first, "asking twice does not nest"
    monkeypatch.setattr(torch.version, "git_version", "another build")
    assert cache.cache_key("cpu") != first.name


def test_the_folder_that_torch_names_by_itself_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    cache_dir()
    assert cache.VARIABLE in os.environ, "torch names one"
    assert cache.use_cache("cpu").parent == tmp_path / "flex2-harness" / "compiled"


def test_all_schedules_share_their_first_call(request_for: Make, renderer: ReferenceRenderer) -> None:
    own = ReferenceRenderer(device="cpu", engine="eager")

    def shared() -> int:
        assert own._state is not None
        return own._state.first_calls.hits

    own.render(request_for())
    assert shared() == 0
    karras = request_for(scheduler="FlowMatchEuler-karras")
    assert np.array_equal(own.render(karras).image, renderer.render(karras).image)
    assert shared() == 1
    for other in (
        {"seed": 6},
        {"prompt": "a red flower"},
        {"guidance_scale": 3.0},
        {"width": 96},
        {"lora": 300},
    ):
        request = request_for(**other)
        assert np.array_equal(own.render(request).image, renderer.render(request).image)
        assert shared() == 1, other


@pytest.mark.parametrize("graphs_hold", [True, False])
def test_on_cuda_graphs_of_eagers_kernels_are_tried_next(
    monkeypatch: pytest.MonkeyPatch, graphs_hold: bool
) -> None:
    made: list[bool] = []

    class Fast:
        def __init__(self, *_: Any, compiled: bool) -> None:
            made.append(compiled)

        def __call__(self, _key: Any, inputs: dict[str, Any]) -> torch.Tensor:
            off = 0 if graphs_hold and not made[-1] else 1
            return inputs["x"] * 2 + off

    class Transformer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x * 2,)

    monkeypatch.setattr("harness.pipeline.engine.exact.FastTransformer", Fast)
    engine = Engine(Transformer(), "cuda")
    x = torch.arange(4.0)
    for weights in ("a", "a", "b"):
        engine.begin((weights,))
        assert torch.equal(engine(x=x)[0], x * 2)
    assert made == [True, False]
    assert "the exact engine gave other bits than eager" in engine.note
    assert bool(engine.failed) is not graphs_hold
    assert len(engine._proved) == (2 if graphs_hold else 0)

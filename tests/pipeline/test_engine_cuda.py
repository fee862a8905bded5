"""The exact engine on a GPU: whether it is proved or falls back, no bit of any render moves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.render import RenderRequest

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

Make = Callable[..., RenderRequest]


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_every_render_has_eagers_bits(request_for: Make, dtype: str) -> None:
    requests = [
        request_for(dtype=dtype),
        request_for(dtype=dtype, seed=6),
        request_for(dtype=dtype, lora=300),
        request_for(dtype=dtype, lora=300, multiplier=0.5),
        request_for(dtype=dtype, width=96),
        request_for(dtype=dtype),
    ]
    eager = [ReferenceRenderer(device="cuda", engine="eager").render(request) for request in requests]
    renderer = ReferenceRenderer(device="cuda", engine="exact")
    for request, expected in zip(requests, eager, strict=True):
        found = renderer.render(request)
        assert np.array_equal(found.image, expected.image), request
        assert found.latents_sha256 == expected.latents_sha256
        print(dtype, found.rendered.engine, found.rendered.engine_reason, found.seconds)
        assert found.rendered.engine == "exact" or "other bits" in found.rendered.engine_reason


def test_a_lora_reaches_a_graph_that_was_captured_before_it(request_for: Make) -> None:
    renderer = ReferenceRenderer(device="cuda", engine="exact")
    plain, with_lora = request_for(), request_for(lora=300)
    images = [renderer.render(request).image for request in (plain, with_lora, plain, with_lora)]
    assert np.array_equal(images[0], images[2])
    assert np.array_equal(images[1], images[3])
    assert not np.array_equal(images[0], images[1])


def test_weights_kept_aside_stay_on_the_gpu_or_in_pinned_memory(request_for: Make) -> None:
    for offload, expected in (("none", "cuda"), ("model", "cpu")):
        renderer = ReferenceRenderer(device="cuda", offload=offload)  # type: ignore[arg-type]
        renderer.render(request_for(lora=300, dtype="fp32"))  # which no file holds
        assert renderer._state is not None
        kept = renderer._state._loras._originals._copies.values()
        assert {weight.device.type for weight in kept} == {expected}
        assert all(weight.is_pinned() for weight in kept if expected == "cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_norm_of_queries_and_keys_has_eagers_bits(dtype: torch.dtype) -> None:
    rms = pytest.importorskip("harness.pipeline.engine.rms_norm")
    whole = torch.randn(1, 37, 24, 128, device="cuda").to(dtype)
    weight = torch.rand(128, device="cuda").add(0.5).to(dtype)
    for x in (whole, whole.transpose(1, 2)):
        assert rms.can_stand_for_eager(x, [128], weight, 1e-6)
        assert torch.equal(rms.rms_norm(x, weight, 1e-6), functional.rms_norm(x, (128,), weight, 1e-6))
    assert not rms.can_stand_for_eager(whole, [24, 128], None, 1e-6)

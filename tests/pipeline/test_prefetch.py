"""Weights that are on the GPU before their models are built: the same bytes, or none."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch

from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.models import load_models
from harness.pipeline.prefetch import copies_of, first_models, stand_ins, weights_files
from harness.schema.base import Base
from harness.schema.render import RenderRequest
from harness.schema.spec import FLEX2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mapped where")
CHECKPOINT = find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2)


def test_every_weight_is_known_by_its_place() -> None:
    models = load_models(CHECKPOINT, FLEX2, torch.bfloat16)
    tensors = [weight.data for model in models.values() for weight in model.parameters()]
    placed = copies_of(weights_files(CHECKPOINT.folder, FLEX2.models), torch.bfloat16, "cpu")
    for tensor, copy in zip(tensors, stand_ins(placed, tensors), strict=True):
        assert copy is not None
        assert copy.data_ptr() != tensor.data_ptr()
        assert torch.equal(copy, tensor)


def test_what_was_changed_after_loading_is_not_taken_from_the_file() -> None:
    models = load_models(CHECKPOINT, FLEX2, torch.bfloat16)
    placed = copies_of(weights_files(CHECKPOINT.folder, FLEX2.models), torch.bfloat16, "cpu")
    changed = next(models["vae"].parameters()).data
    changed += 1
    other = next(models["transformer"].parameters()).data
    one, another, made = stand_ins(placed, [changed, other, torch.ones(3, dtype=torch.bfloat16)])
    assert one is None
    assert another is not None
    assert made is None


def test_another_dtype_is_left_to_loading() -> None:
    assert copies_of(weights_files(CHECKPOINT.folder, FLEX2.models), torch.float16, "cpu") == {}


def test_only_what_stays_on_the_gpu_is_copied(quick_request: Callable[..., RenderRequest]) -> None:
    request, cast = quick_request(), quick_request(encoder_dtype="fp32")
    assert first_models(request, "none") == list(FLEX2.models)
    assert first_models(cast, "none") == first_models(request, "sequential") == []
    assert first_models(request, "model") == first_models(cast, "model") == ["transformer", "vae"]

"""What is launched on zeros before a first render: every product that it makes, and no random number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.renderer import ReferenceRenderer
from harness.pipeline.warm_up import warm_up
from harness.schema.base import Base
from harness.schema.render import RenderRequest
from harness.schema.spec import FLEX2
from harness.schema.versions import T5Attention

CHECKPOINT = find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2)
PRODUCTS = (
    "linear",
    "conv2d",
    "matmul",
    "scaled_dot_product_attention",
    "embedding",
    "group_norm",
    "softmax",
)


class Recorded(TorchDispatchMode):
    """Notes each product with the shapes and dtypes of what it is made of, and each operation's name."""

    def __init__(self) -> None:
        super().__init__()
        self.products: set[tuple[str, tuple[Any, ...]]] = set()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operation: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        self.names.add(name)
        if name in PRODUCTS and tensors[0].device.type != "meta":
            self.products.add((name, tuple((tuple(each.shape), each.dtype) for each in tensors)))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_product_of_a_render_was_made_before(
    quick_request: Callable[..., RenderRequest], attention: T5Attention
) -> None:
    request = quick_request(width=96, height=64, dtype="bf16", t5_attention=attention)
    renderer = ReferenceRenderer(device="cpu", engine="eager")
    with Recorded() as rendered:
        renderer.render(request)
    with Recorded() as before:
        warm_up(CHECKPOINT.folder, request, torch.bfloat16, "cpu")
    assert {one for one in rendered.products - before.products if not _is_position(one)} == set()
    assert len(before.products) > 40


def _is_position(product: tuple[str, tuple[Any, ...]]) -> bool:
    """Whether it looks up the place of a token, of which there are few."""
    name, ((table, _), *_) = product
    return name == "embedding" and table[0] <= 77


def test_no_random_number_is_drawn(quick_request: Callable[..., RenderRequest]) -> None:
    state = torch.get_rng_state()
    warm_up(CHECKPOINT.folder, quick_request(), torch.bfloat16, "cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_part_of_another_kind_is_left_out(
    quick_request: Callable[..., RenderRequest], tmp_path: Any
) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text('{"block_out_channels": "wide"}')
    warm_up(tmp_path, quick_request(), torch.bfloat16, "cpu")

"""Products of bf16 in fp32: what they round to, and what they leave alone."""

from __future__ import annotations

import torch
from torch.nn import functional

from harness.pipeline.bf16_products import quick_products
from harness.precision.libraries import quantize_in_place


def test_products_of_bf16_are_those_of_fp32_rounded() -> None:
    draw = torch.Generator().manual_seed(0)
    values, weight = (
        torch.randn(3, 64, generator=draw).bfloat16(),
        torch.randn(8, 64, generator=draw).bfloat16(),
    )
    with quick_products():
        made, product = functional.linear(values, weight), values @ weight.t()
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, functional.linear(values.float(), weight.float()).bfloat16())
    assert torch.equal(product, (values.float() @ weight.float().t()).bfloat16())


def test_a_float8_weight_is_put_back_into_bf16_first() -> None:
    part = torch.nn.Sequential(torch.nn.Linear(64, 8, dtype=torch.bfloat16))
    quantize_in_place(part, "qfloat8")
    values, weight, bias = torch.randn(3, 64).bfloat16(), part[0].weight.dequantize(), part[0].bias
    with quick_products():
        made = part(values)
    assert torch.equal(made, functional.linear(values.float(), weight.float()).bfloat16() + bias)
    assert torch.allclose(made, part(values), rtol=0.02, atol=0.01)  # optimum-quanto's own product


def test_a_convolution_takes_its_bias_along() -> None:
    image, kernel, bias = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), torch.tensor([0.5])
    with quick_products():
        made = functional.conv2d(image.bfloat16(), kernel.bfloat16(), bias.bfloat16())
    assert made.item() == 9.5


def test_other_dtypes_and_devices_are_left_alone() -> None:
    with quick_products():
        assert functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype == torch.float32
        meta = functional.linear(
            torch.ones(1, 2, device="meta").bfloat16(), torch.ones(1, 2, device="meta").bfloat16()
        )
    assert meta.device.type == "meta"

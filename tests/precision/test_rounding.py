"""Quantizers as functions: what they keep, against the formats' definitions and the libraries' own code."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from harness.errors import HarnessError
from harness.precision import availability
from harness.precision.availability import missing, require
from harness.precision.codebook import nearest
from harness.precision.floats import cast
from harness.precision.libraries import quantize_in_place
from harness.precision.rounding import rounded, rounded_at_random, unpacked
from harness.schema.quantizers import (
    QUANTIZERS,
    SETTINGS,
    STOCHASTIC,
    quantizer_of,
    recorded_settings,
    setting_of,
)
from harness.schema.render import Unpacking

AT_8_BITS, AT_4_BITS = 0.05, 0.25
"""Largest relative error of a format of so many bits on normally distributed weights."""
SIX_OR_SEVEN = re.compile(r"int[67]|q6_k")


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    return torch.randn(64, 256, generator=torch.Generator().manual_seed(3)).mul(0.05).bfloat16()


def error(made: torch.Tensor, weight: torch.Tensor) -> float:
    return float((made.float() - weight.float()).norm() / weight.float().norm())


def able(name: str) -> str:
    if (why := missing(name)) is not None:
        pytest.skip(why)
    return name


COMPILED = {"qint4", "qint2"}
"""optimum-quanto compiles an extension for minutes before their first use."""


@pytest.mark.parametrize("name", [name for name in QUANTIZERS if name not in COMPILED])
def test_a_quantizer_rounds_as_much_as_its_bits_say(name: str, weight: torch.Tensor) -> None:
    made = rounded(able(name), weight)
    assert made.shape == weight.shape
    assert made.dtype == weight.dtype
    found = error(made, weight)
    if name == "uint8":
        assert found == 0
    elif ("8" in name and not name.endswith("e5m2")) or SIX_OR_SEVEN.search(name):
        assert 0 < found < AT_8_BITS
    elif "4" in name or "int5" in name or "q5_k" in name:
        assert AT_8_BITS / 5 < found < AT_4_BITS
    else:
        assert found > AT_8_BITS


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_cast_has_the_bits_of_torchs(dtype: torch.dtype) -> None:
    """Every 16-bit number; in fp32 every float8 number, those half way between two, and their neighbours."""
    halves = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16)
    grid = torch.arange(128, dtype=torch.uint8).view(dtype).float()
    grid = grid[grid.isfinite()]
    near = torch.cat([grid, (grid[1:] + grid[:-1]) / 2])
    near = torch.cat([near, near.nextafter(near + 1), near.nextafter(near - 1), near * 1e-30])
    largest = torch.finfo(dtype).max
    for numbers in (halves.view(torch.bfloat16), halves.view(torch.float16), near, -near):
        wanted = numbers.clamp(-largest, largest).to(dtype).to(numbers.dtype)
        made = cast(numbers, dtype)
        assert made.dtype == numbers.dtype
        assert torch.equal(made.isnan(), numbers.isnan())
        known = ~numbers.isnan()
        assert torch.equal(made[known], wanted[known])
        assert torch.equal(made[known].signbit(), wanted[known].signbit())


@pytest.mark.parametrize("name", ["qfloat8", "qfloat8_e5m2", "qfloat8_e4m3fnuz", "qint8", "float8", "int8"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_eight_bits_of_a_library_have_the_bits_of_its_layer(
    name: str, dtype: torch.dtype, weight: torch.Tensor
) -> None:
    able(name)
    layer = torch.nn.Sequential(torch.nn.Linear(weight.shape[1], len(weight), bias=False, dtype=dtype))
    sizes = torch.logspace(-3, 3, len(weight)).unsqueeze(1)
    layer[0].weight.data = (weight.float() * sizes).to(dtype)
    if name == "int8":  # the others divide by a scale of 0
        layer[0].weight.data[:2] = torch.tensor([[0.0], [1e-7]], dtype=dtype)
    wanted = layer[0].weight.data
    quantize_in_place(layer, name)
    assert torch.equal(rounded(name, wanted), layer[0].weight.dequantize())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_nf4_has_the_codes_and_scales_of_its_library(dtype: torch.dtype, weight: torch.Tensor) -> None:
    able("nf4")
    functional = pytest.importorskip("bitsandbytes.functional")
    wanted = (weight.float() * torch.logspace(-3, 3, len(weight)).unsqueeze(1)).to(dtype)
    wanted[:1] = 0
    stored, state = functional.quantize_4bit(wanted, quant_type="nf4", blocksize=64)
    codes = torch.stack([stored >> 4, stored & 15], dim=-1).flatten().long()
    values = state.code.float()[codes].view(-1, 64) * state.absmax[:, None]
    assert torch.equal(rounded("nf4", wanted), values.view(wanted.shape).to(dtype))


def test_nf4_takes_a_row_that_is_no_whole_block(weight: torch.Tensor) -> None:
    short = weight[:3, :100].contiguous()
    assert torch.equal(rounded("nf4", short).flatten()[:256], rounded("nf4", short.flatten()[:256]))
    assert rounded("nf4", short).shape == short.shape


def test_the_nearest_of_a_few_numbers_is_what_torch_finds() -> None:
    values, between = (0.0, 0.5, 1.0, 6.0), (0.25, 0.75, 3.5)
    numbers = torch.cat([torch.linspace(-1, 7, 4001), torch.tensor(between)]).view(4, -1)
    wanted = torch.tensor(values)[torch.bucketize(numbers, torch.tensor(between))]
    assert torch.equal(nearest(numbers, values, between), wanted)


@pytest.mark.parametrize(
    "name", ["fp8_e4m3fn", "fp8_e5m2", "fp8_scaled_row", "gguf_q8_0", "gguf_q4_k", "uint4", "qfloat8"]
)
def test_rows_are_rounded_each_for_itself(name: str, weight: torch.Tensor) -> None:
    assert torch.equal(rounded(able(name), weight)[16:32], rounded(name, weight[16:32]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_of_a_gguf_file_is_unpacked_in_fp16(weight: torch.Tensor, dtype: torch.dtype) -> None:
    weight = weight.to(dtype)
    made, exact = unpacked(able("gguf_q8_0"), weight), rounded("gguf_q8_0", weight.float())
    assert torch.equal(made, exact.half().to(dtype))
    assert not torch.equal(made, exact.to(dtype))


@pytest.mark.parametrize("unpacking", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_weight_of_a_gguf_file_is_unpacked_as_diffusers_does(
    weight: torch.Tensor, kind: str, unpacking: Unpacking
) -> None:
    able("gguf_q8_0")
    gguf = pytest.importorskip("gguf")
    functions = pytest.importorskip("diffusers.quantizers.gguf.utils").dequantize_functions
    wanted = weight.float()
    wanted[3, :32] = 0
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    stored = gguf.quants.quantize(wanted.numpy(), number).reshape(-1, size)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[unpacking]
    theirs = functions[number](torch.from_numpy(stored), block, size, dtype).float().view(wanted.shape)
    assert torch.equal(unpacked(f"gguf_{kind.lower()}", wanted, unpacking), theirs)


@pytest.mark.parametrize("name", [None, "fp8_e4m3fn", "uint4", "bnb_int8"])
def test_other_weights_are_what_is_stored(name: str | None, weight: torch.Tensor) -> None:
    assert torch.equal(unpacked(name and able(name), weight), rounded(name, weight))


@pytest.mark.parametrize("name", ["fp8_scaled", "nvfp4"])
def test_one_scale_for_a_tensor_is_that_of_the_whole(name: str, weight: torch.Tensor) -> None:
    weight = weight.clone()
    weight[0, 0] = 1.0
    whole = rounded(name, weight)
    assert torch.equal(whole[16:], rounded(name, weight[16:], weight.abs().amax()))
    assert not torch.equal(whole[16:], rounded(name, weight[16:]))


def test_uint4_is_the_formula_of_torchao_in_bf16(weight: torch.Tensor) -> None:
    """Scale and zero point of every 64 weights, written out one group at a time."""
    made = rounded("uint4", weight)
    for row, group in ((0, 0), (7, 2), (63, 3)):
        part = weight[row, group * 64 : group * 64 + 64]
        low, high = (
            min(part.min(), torch.tensor(0.0).bfloat16()),
            max(part.max(), torch.tensor(0.0).bfloat16()),
        )
        scale = (high - low) / 15.0
        zero = torch.round(-low / scale)
        codes = torch.clamp(torch.round(part * (1.0 / scale)) + zero, 0, 15)
        assert torch.equal(made[row, group * 64 : group * 64 + 64], (codes - zero) * scale)


def test_uint_leaves_rows_that_64_does_not_divide(weight: torch.Tensor) -> None:
    assert torch.equal(rounded("uint2", weight[:, :160]), weight[:, :160])


@pytest.mark.parametrize("name", sorted(STOCHASTIC))
def test_stochastic_rounding_is_right_on_average_and_on_the_grid(name: str, weight: torch.Tensor) -> None:
    whole = weight.abs().amax()
    wanted = weight.float() * 0.997
    draws = [
        rounded_at_random(name, wanted, torch.rand(wanted.shape, generator=generator), whole)
        for generator in (torch.Generator().manual_seed(seed) for seed in range(64))
    ]
    assert all(torch.equal(draw, rounded(name, draw, whole)) for draw in draws[:4])
    assert not torch.equal(draws[0], draws[1])
    nearest = error(rounded(name, wanted, whole), wanted)
    assert error(torch.stack(draws).mean(0), wanted) < nearest / 3


def test_what_cannot_be_computed_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "_is_installed", lambda module: module != "gguf")
    with pytest.raises(HarnessError, match="gguf_q8_0 needs gguf, which is not installed") as caught:
        require("gguf_q8_0")
    assert caught.value.fix == "pip install gguf"
    require("gguf_q6_k")


def test_settings_name_a_quantizer_and_its_parts() -> None:
    assert quantizer_of("none") == (None, frozenset())
    assert quantizer_of("uint4-te") == ("uint4", frozenset({"text_encoder_2"}))
    assert setting_of("float8", transformer=True, te=True) == "float8"
    assert setting_of("uint3", transformer=True, te=False) == "uint3-transformer"
    assert setting_of("made-up", transformer=True, te=True) is None
    assert recorded_settings("uint4", transformer=False, te=True) == ("uint4-te",)
    assert recorded_settings("convrot8", transformer=True, te=True) == ("convrot8", "convrot8_a16")
    assert recorded_settings("convrot4_a16", transformer=True, te=False) == (
        "convrot4_a16-transformer",
        "convrot4-transformer",
    )
    assert recorded_settings("convrot8", transformer=False, te=False) == ()
    assert {"qfloat8", "qfloat8-transformer", "qfloat8-te"} <= set(SETTINGS)


@pytest.mark.parametrize("name", ["qfloat8", "qint8", "float8", "int8"])
def test_a_rounded_weight_is_that_of_the_librarys_layer(name: str, weight: torch.Tensor) -> None:
    part = torch.nn.Sequential(torch.nn.Linear(256, 64, bias=False))
    part[0].weight = torch.nn.Parameter(weight, requires_grad=False)
    quantize_in_place(part, able(name))
    stored: Any = part[0].weight
    assert torch.equal(stored.dequantize(), rounded(name, weight))


def test_qint8_multiplies_rows_that_torch_cannot_take_packed() -> None:
    """optimum-quanto hands bf16 rows of a width of 4 n to a product that wants 16 n: it ended the process."""
    torch.manual_seed(0)
    for width in (4, 128, 196):
        part = torch.nn.Sequential(torch.nn.Linear(width, 64, dtype=torch.bfloat16))
        rows = torch.randn(2, 40, width, dtype=torch.bfloat16)
        with torch.inference_mode():
            exact = part(rows)
            quantize_in_place(part, "qint8")
            assert torch.allclose(part(rows), exact, atol=0.02 * float(exact.abs().max()))

"""``harness audit`` on a GGUF file: every type as the gguf package unpacks it, and damaged files."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from harness.cli.app import app
from harness.errors import CheckpointError
from harness.precision import availability
from harness.precision.audit import audit
from harness.precision.audit_text import sentences
from harness.precision.base_modules import base_modules
from harness.precision.row_blocks import extents, row_blocks
from harness.report.audit_page import write_audit_page

WIDTH, RANK = 256, 4
Q6_K, Q4_K = 210, 144
"""Bytes of a block of 256 weights."""

TYPES = {
    "double_blocks.0.img_attn.qkv": ("Q6_K", 192),
    "double_blocks.0.txt_attn.qkv": ("Q8_0", 192),
    "double_blocks.0.img_mlp.0": ("Q4_0", 512),
    "double_blocks.0.img_attn.proj": ("Q4_K", 256),
    "double_blocks.0.txt_attn.proj": ("BF16", 256),
    "double_blocks.0.txt_mlp.0": ("F16", 512),
    "single_blocks.0.modulation.lin": ("F32", 768),
}
"""Type and rows of every weight of the file."""

LORA = {
    "transformer_blocks.0.attn.to_k": ("double_blocks.0.img_attn.qkv", 64, 64),
    "transformer_blocks.0.attn.add_v_proj": ("double_blocks.0.txt_attn.qkv", 128, 64),
    "transformer_blocks.0.ff.net.0.proj": ("double_blocks.0.img_mlp.0", 0, 512),
    "transformer_blocks.0.attn.to_out.0": ("double_blocks.0.img_attn.proj", 0, 256),
    "transformer_blocks.0.attn.to_add_out": ("double_blocks.0.txt_attn.proj", 0, 256),
    "transformer_blocks.0.ff_context.net.0.proj": ("double_blocks.0.txt_mlp.0", 0, 512),
    "single_transformer_blocks.0.norm.linear": ("single_blocks.0.modulation.lin", 0, 768),
}
"""Where each module of the LoRA lies: a weight of the file, its first row there, its rows."""


def random_blocks(kind: str, rows: int, random: Any) -> Any:
    """Return rows of one block of a K-quant, which the package cannot write; their scale is small."""
    numpy = pytest.importorskip("numpy")
    blocks = random.integers(0, 256, (rows, Q6_K if kind == "Q6_K" else Q4_K), dtype=numpy.uint8)
    half = numpy.frombuffer(numpy.float16(2e-4).tobytes(), numpy.uint8)
    if kind == "Q6_K":
        blocks[:, -2:] = half
    else:
        blocks[:, :4] = numpy.tile(half, 2)
    return blocks


@pytest.fixture(scope="module")
def stored() -> dict[str, tuple[str, Any]]:
    """Every weight's type and stored bytes, rows × bytes of a row."""
    gguf, numpy = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    random = numpy.random.default_rng(5)
    made = {}
    for name, (kind, rows) in TYPES.items():
        if kind.endswith("_K"):
            made[name] = kind, random_blocks(kind, rows, random)
            continue
        weight = (random.standard_normal((rows, WIDTH)) * 0.02).astype(numpy.float32)
        data = gguf.quants.quantize(weight, gguf.GGMLQuantizationType[kind])
        made[name] = kind, data.view(numpy.uint8).reshape(rows, -1)
    return made


@pytest.fixture(scope="module")
def base(stored: dict[str, tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    gguf = pytest.importorskip("gguf")
    file = tmp_path_factory.mktemp("gguf") / "flex2-Q4_K_M.gguf"
    writer = gguf.GGUFWriter(file, "flux")
    writer.add_array("tags", ["a", "b"])
    for name, (kind, data) in stored.items():
        writer.add_tensor(f"{name}.weight", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator, made = torch.Generator().manual_seed(1), {}
    for module, (_, _, rows) in LORA.items():
        for side, shape in (("A", (RANK, WIDTH)), ("B", (rows, RANK))):
            made[f"transformer.{module}.lora_{side}.weight"] = torch.randn(shape, generator=generator) * 0.01
    file = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    save_file(made, file)
    return file


def meant(stored: dict[str, tuple[str, Any]], module: str) -> torch.Tensor:
    """Return what the package makes of a module's rows, fp32."""
    gguf = pytest.importorskip("gguf")
    name, first, rows = LORA[module]
    kind, data = stored[name]
    weight = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    return torch.tensor(weight)[first : first + rows]


@pytest.mark.parametrize("module", LORA)
def test_rows_are_what_the_package_unpacks(
    module: str, base: Path, stored: dict[str, tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(row_blocks.__globals__["MAX_BLOCK"], "cpu", 40 * WIDTH)
    weight = base_modules(base)[module]
    read = torch.cat([block for _, block in row_blocks(weight, None, "cpu")])
    assert torch.equal(read.float(), meant(stored, module))
    data = base.read_bytes()
    ahead = b"".join(data[begin:end] for _, begin, end in extents(weight, None))
    name, first, rows = LORA[module]
    assert ahead == stored[name][1][first : first + rows].tobytes()


def test_a_lora_is_added_to_what_is_unpacked(
    base: Path, lora: Path, stored: dict[str, tuple[str, Any]]
) -> None:
    found, tensors = audit(lora, base=base), load_file(lora)
    assert {layer.module for layer in found.layers} == set(LORA)
    for layer in found.layers:
        kind = TYPES[LORA[layer.module][0]][0]
        assert layer.stored == layer.to_json()["stored"] == kind
        a, b = (tensors[f"transformer.{layer.module}.lora_{side}.weight"] for side in "AB")
        weight, exact = meant(stored, layer.module), b @ a
        assert len(layer.applied) == 4
        for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
            unpacked = weight.to(dtype).float()
            change = (unpacked + exact).to(dtype).float() - unpacked
            share = float((change * exact).sum() / exact.square().sum())
            applied = layer.applied[f"{kind}, {name}", "unpacked"]
            assert applied.share == pytest.approx(share, rel=1e-4)
            assert applied.moved_share == pytest.approx(float((change != 0).double().mean()))
            assert layer.applied[f"{kind}, {name}", "live"].share == pytest.approx(1, abs=0.01)


def test_a_k_quant_and_a_quantizer_are_told(base: Path, lora: Path, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    asked = ["audit", str(lora), "--base", str(base), "--out", str(page)]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    assert "Q6_K, bf16       unpacked" in told.output
    assert "fp8_e4m3fn" not in told.output
    assert "<td>Q4_K</td>" in page.read_text(encoding="utf-8")
    more = audit(lora, base=base, quantizers=("fp8_e4m3fn",))
    assert more.total["fp8_e4m3fn", "merged"].share < more.total["Q6_K, bf16", "unpacked"].share
    assert any("7 layers on flex2-Q4_K_M.gguf" in line for line in sentences(more))
    write_audit_page(more, page)


def test_a_damaged_file_is_refused_in_one_line(base: Path, lora: Path, tmp_path: Path) -> None:
    whole, file = base.read_bytes(), tmp_path / "base.gguf"
    kinds = whole.index(b"img_attn.qkv.weight") + len(b"img_attn.qkv.weight") + 4 + 2 * 8
    damaged = {
        "does not begin with GGUF": b"\x80" + whole[1:],
        "version 1": whole[:4] + struct.pack("<I", 1) + whole[8:],
        "it lists ": whole[:8] + b"\xff" * 8 + whole[16:],
        "ends in its header": whole[:200],
        "it ends before the end of": whole[:-4096],
        "is of dtype number 9999": whole[:kinds] + struct.pack("<I", 9999) + whole[kinds + 4 :],
        "does not unpack": whole[:kinds] + struct.pack("<I", 24) + whole[kinds + 4 :],  # I8
        "is no whole GGUF file": b"",
    }
    for said, data in damaged.items():
        file.write_bytes(data)
        with pytest.raises(CheckpointError, match=said):
            audit(lora, base=file)


def test_every_byte_of_a_header_may_be_wrong(base: Path, tmp_path: Path) -> None:
    whole, file = base.read_bytes(), tmp_path / "base.gguf"
    for place in range(whole.index(b"modulation") + 60):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(CheckpointError):
            assert base_modules(file)


def test_weights_that_are_not_finite_are_refused(base: Path, lora: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.gguf"
    place = base_modules(base)["transformer_blocks.0.attn.to_k"].stored
    data = bytearray(base.read_bytes())
    row = place.begin + 64 * Q6_K
    data[row + Q6_K - 2 : row + Q6_K] = b"\x00\x7c"
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="type Q6_K that is NaN or infinite"):
        audit(lora, base=file)


def test_without_the_package_the_line_that_installs_it_is_told(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(availability, "_is_installed", lambda module: module != "gguf")
    with pytest.raises(CheckpointError, match="needs gguf, which is not installed") as caught:
        audit(lora, base=tmp_path / "base.gguf")
    assert caught.value.fix == "pip install gguf"

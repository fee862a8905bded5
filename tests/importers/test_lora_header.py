from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from harness._util.atomic_files import sha256_file
from harness.precision.weights_file import DTYPES
from harness.schema.lora_file import inspect_lora
from harness.schema.lora_header import MAX_HEADER, MAX_TENSORS
from tests.importers.lora_files import GOOD, A, B, refused, write


def test_genuine_file(genuine: Callable[[str], Path]) -> None:
    path = genuine("tiny_flex2_q8") / "tiny_flex2_q8_000000020.safetensors"
    lora = inspect_lora(path)
    assert lora.sha256 == sha256_file(path)
    assert (lora.software, lora.step) == ("ai-toolkit 0.12.26", 20)
    assert lora.metadata["ss_output_name"] == "tiny_flex2_q8"
    assert len(lora.tensors) == 104
    assert len(lora.modules) == 52
    assert lora.modules["single_transformer_blocks.0.attn.to_k"] == (8, 128, 128)
    assert lora.tensors["transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight"].dtype == "BF16"


def test_same_as_the_safetensors_library(genuine: Callable[[str], Path]) -> None:
    from safetensors import safe_open

    path = genuine("tiny_flex2_simple_v1") / "tiny_flex2_simple_v1.safetensors"
    lora = inspect_lora(path)
    with safe_open(path, framework="np") as file:
        assert file.metadata() == lora.metadata
        assert {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()} == {  # noqa: SIM118
            key: tensor.shape for key, tensor in lora.tensors.items()
        }


def test_smallest_file(tmp_path: Path) -> None:
    lora = inspect_lora(write(tmp_path / "a.safetensors", GOOD))
    assert lora.modules == {"x.attn.to_q": (2, 6, 4)}
    assert (lora.software, lora.step) == (None, None)


@pytest.mark.parametrize(
    "training_info", ["nonsense", "[1]", '{"step": "x"}', '{"step": true}', "{}", "[" * 100_000]
)
def test_odd_metadata_is_no_error(tmp_path: Path, training_info: str) -> None:
    lora = inspect_lora(write(tmp_path / "a.safetensors", GOOD, {"training_info": training_info}))
    assert lora.step is None


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("text", "__metadata__: Input should be an object"),
        ([1], "__metadata__: Input should be an object"),
        ({"software": 5}, "__metadata__.software: Input should be a valid string, found 5"),
        (
            {"format": "pt", "training_info": {"step": 3}},
            "__metadata__.training_info: Input should be a valid string",
        ),
    ],
)
def test_metadata_that_the_format_forbids(tmp_path: Path, metadata: object, said: str) -> None:
    assert said in refused(write(tmp_path / "a.safetensors", GOOD, metadata))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("name", ["lora.pt", "lora.safetensors"])
def test_pickle_is_refused_unread(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    assert "is a pickle" in refused(path)
    assert not (tmp_path / "exploded").exists()


def test_torch_checkpoint_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "is a pickle" in refused(path)


def test_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    for padding in range(256):
        path = write(tmp_path / "a.safetensors", GOOD, {"name": "n" * padding})
        if path.read_bytes().startswith(b"\x80"):
            assert inspect_lora(path).modules
            return
    pytest.fail("no padding gave a header length of 0x80")


def test_missing(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"abc", "is not a safetensors file"),
        (b"<html>not found</html>", "is a web page"),
    ],
)
def test_something_else(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert said in refused(path)


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_truncated(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.safetensors", GOOD)
    path.write_bytes(path.read_bytes()[:-cut])
    assert "is truncated" in refused(path)


def test_header_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((MAX_HEADER + 1).to_bytes(8, "little") + b"{" + bytes(50))
    assert f"claims a header of {MAX_HEADER + 1} bytes" in refused(path)


def test_header_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((10).to_bytes(8, "little") + b"{" + bytes(9))
    assert "Invalid JSON" in refused(path)


def test_shape_that_does_not_fit_its_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", GOOD)
    path.write_bytes(path.read_bytes().replace(b"[2, 6]", b"[2, 9]"))
    assert "not a valid safetensors file (" in refused(path)


def tensor(key: str, dtype: str, shape: list[object], begin: object, end: object) -> dict[str, object]:
    return {key: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


def raw(path: Path, header: str, data: bytes) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + data)
    return path


@pytest.mark.parametrize(
    ("header", "size", "said"),
    [
        (tensor(A, "I32", [2, 6], 0, 48), 48, f"{A}: is of dtype I32; AI Toolkit saves LoRAs in F32, F16"),
        (tensor(A, "F8_E5M2", [2, 6], 0, 12), 12, "is of dtype F8_E5M2"),
        (
            tensor(A, "F16", [2, 6], 0, 24) | tensor(B, "F16", [4, 2], 8, 24),
            24,
            "leave a gap, overlap",
        ),
        (
            tensor(A, "F16", [2, 6], 0, 24) | tensor(B, "F16", [4, 2], 26, 42),
            42,
            "leave a gap, overlap",
        ),
        (tensor(A, "F16", [2, 6], 0, 24) | tensor(B, "F16", [4, 2], 24, 40), 41, ", and its header says 2"),
        (tensor(A, "F16", [0, 6], 0, 0) | tensor(B, "F16", [4, 0], 0, 0), 0, "lora_A [0, 6]"),
        (tensor(A, "F16", [-2, -6], 0, 24), 24, "not a valid safetensors file ("),
        (tensor(A, "F16", [2.0, 6], 0, 24), 24, "not a valid safetensors file ("),
        (tensor(A, "F16", [2, 6], -24, 0), 24, "not a valid safetensors file ("),
        (tensor(A, "F16", ["2", 6], 0, 24), 24, "not a valid safetensors file ("),
        ({A: []}, 0, "not a valid safetensors file ("),
        ({A: {"dtype": ["F16"], "shape": [1], "data_offsets": [0, 2]}}, 2, "not a valid safetensors file ("),
    ],
)
def test_entries_that_say_something_impossible(
    tmp_path: Path, header: dict[str, object], size: int, said: str
) -> None:
    assert said in refused(raw(tmp_path / "a.safetensors", json.dumps(header), bytes(size)))


def test_a_key_with_two_meanings(tmp_path: Path) -> None:
    entries = [f'"{A}": {{"dtype": "F16", "shape": [1, 1], "data_offsets": [{n}, {n + 2}]}}' for n in (0, 2)]
    path = raw(tmp_path / "a.safetensors", f"{{{', '.join(entries)}}}", bytes(4))
    assert "not a valid safetensors file (" in refused(path)


def test_a_bomb_of_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {f"k{n}": [1] for n in range(MAX_TENSORS + 1)})
    assert f"lists {MAX_TENSORS + 1} tensors" in refused(path)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *product(["F32", "F16", "BF16"], [float("nan"), float("inf"), -float("inf")]),
        ("F8_E4M3", float("nan")),  # it has no infinity
    ],
)
def test_weights_that_are_no_numbers(tmp_path: Path, dtype: str, value: float) -> None:
    import torch
    from safetensors.torch import save_file

    kind = getattr(torch, DTYPES[dtype][1])
    largest = torch.finfo(kind).max
    tensors = {A: torch.full((2, 6), largest, dtype=kind), B: torch.full((4, 2), -largest, dtype=kind)}
    save_file(tensors, tmp_path / "a.safetensors")
    assert inspect_lora(tmp_path / "a.safetensors").tensors[A].dtype == dtype
    tensors[B][3, 1] = value
    save_file(tensors, tmp_path / "a.safetensors")
    assert f"{B}: holds weights that are NaN or infinite" in refused(tmp_path / "a.safetensors")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    assert "is not a regular file" in refused(tmp_path / "a.safetensors")


def test_loading_the_module_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, harness.schema.lora_file; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

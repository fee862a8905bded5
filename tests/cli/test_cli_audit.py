"""``harness audit`` as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.precision import availability
from tests.cli.conftest import Harness
from tests.cli.refused import refused
from tests.importers.lora_files import rewrite, write


@pytest.fixture
def lora(jobs: dict[str, Path]) -> Path:
    return max(jobs["inkprint"].glob("*.safetensors"))


def test_the_command_writes_table_json_and_page(
    harness: Harness, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "_is_installed", lambda module: module != "gguf")
    part = rewrite(
        lora, tmp_path / "part.safetensors", rename=lambda key: key if ".ff.net.2." in key else None
    )
    arguments = (
        "audit",
        part,
        "--base",
        "embedded:tiny-flex2-emoji",
        "--quantize",
        "fp8_e4m3fn",
        "--quantize",
        "gguf_q8_0",
    )
    ended = harness(*arguments, "--json", tmp_path / "a.json", "--out", tmp_path / "a.html")
    assert ended.code == 0
    assert "diffusers: applies 8 keys" in ended.out
    assert "rounded to nearest again: rounds away" in ended.out
    assert "gguf_q8_0 is left out: needs gguf, which is not installed" in ended.out
    body = json.loads((tmp_path / "a.json").read_text())
    assert [layer["module"] for layer in body["layers"]] == sorted(
        (layer["module"] for layer in body["layers"]),
        key=lambda name: next(
            min(way["survival"] for way in layer["applied"])
            for layer in body["layers"]
            if layer["module"] == name
        ),
    )
    page = (tmp_path / "a.html").read_text()
    assert page.count("<svg") == len(body["total"]) == 5


def test_keys_by_loader_without_a_base(harness: Harness, lora: Path, tmp_path: Path) -> None:
    kohya = rewrite(
        lora,
        tmp_path / "odd.safetensors",
        rename=lambda key: key.replace("transformer.", "diffusion_model.", 1),
    )
    ended = harness("audit", kohya)
    assert ended.code == 0
    assert "diffusers: applies 0 keys, ignores 124" in ended.out
    assert "its changes were not measured" in ended.out


def test_a_key_forges_no_line_of_its_own(harness: Harness, lora: Path, tmp_path: Path) -> None:
    line = "diffusers: applies 124 keys"
    forged = rewrite(lora, tmp_path / "odd.safetensors", rename=lambda key: f"{key}\n{line}")
    ended = harness("audit", forged)
    assert sum(line.startswith("diffusers: applies") for line in ended.out.splitlines()) == 1
    assert "diffusers: applies 0 keys" in ended.out


def test_quantizers_without_a_base_are_refused(harness: Harness, lora: Path) -> None:
    said = refused(harness("audit", lora, "--quantize", "nf4"))
    assert "--quantize: rounds the weights of a base, and none is given; name the base with --base" in said


def test_one_key_is_one(harness: Harness, tmp_path: Path) -> None:
    key = "transformer.transformer_blocks.0.attn.to_k.lora_A.weight"
    assert (
        "diffusers: applies 1 key\n" in harness("audit", write(tmp_path / "a.safetensors", {key: [2, 6]})).out
    )


def test_bad_input_is_one_line(harness: Harness, lora: Path, tiny: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(harness("audit", lora, "--base", tmp_path / "none"))
    assert "cannot be read" in refused(harness("audit", tmp_path / "none.safetensors"))
    short = tmp_path / "short.safetensors"
    short.write_bytes(next((tiny / "transformer").glob("*.safetensors")).read_bytes()[:-9])
    assert "truncated" in refused(harness("audit", lora, "--base", short))
    assert "no block of a Flex.2 transformer" in refused(harness("audit", lora, "--base", lora))
    assert "--quantize" in harness("audit", lora, "--quantize", "fp9").err


@pytest.mark.parametrize("option", ["--json", "--out"])
def test_the_base_is_not_written_over(
    harness: Harness, lora: Path, tiny: Path, tmp_path: Path, option: str
) -> None:
    folder = Path(shutil.copytree(tiny / "transformer", tmp_path / "transformer"))
    weights = next(folder.glob("*.safetensors"))
    before = weights.read_bytes()
    for base in (weights, folder, tmp_path):
        said = refused(harness("audit", lora, "--base", base, option, weights))
        assert f"{option}: is a file of --base" in said
    assert weights.read_bytes() == before
    assert harness("audit", lora, "--base", folder, "--rows", "1", option, folder / "new.txt").code == 0

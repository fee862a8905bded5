"""Settings read from images that other tools made, against what they were made with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.errors import ImageError, RequestError
from harness.importers.image_metadata.inference_settings import Tool
from harness.importers.image_metadata.read_image import InferenceImage, read_inference_image
from tests.conftest import DATA

IMAGES = DATA / "inference_images"
TRUTHS: list[dict[str, Any]] = json.loads((IMAGES / "truths.json").read_text())["images"]
STATED = [truth for truth in TRUTHS if truth["metadata"] != "none" and truth["class"] != "D"]
TOOLS = {"A": Tool.COMFYUI, "C": Tool.FORGE, "D": Tool.REFERENCE_SERVER}
NUMBERS = ("width", "height", "seed", "sample_steps", "guidance_scale", "mu", "max_sequence_length", "cfg")


def read(truth: dict[str, Any]) -> InferenceImage:
    request = [IMAGES / truth["request"]] if "request" in truth else []
    return read_inference_image(IMAGES / truth["file"], request=request)


@pytest.mark.parametrize("truth", STATED, ids=lambda truth: truth["file"])
def test_every_setting_of_an_image_with_metadata_is_read_and_nothing_is_unknown(
    truth: dict[str, Any],
) -> None:
    found, made = read(truth).settings, truth["truth"]
    assert found.tool is TOOLS[truth["class"]]
    assert found.unknown == []
    assert found.value("prompt") == made["prompt"]
    assert found.value("sampler") == made["sampler"]
    assert f"comfyui {found.value('schedule')}" == made["schedule"]
    assert found.value("blanks") == ("none" if made["blank_mask"] == 1 else "flextools")
    for name in NUMBERS:
        assert found.value(name) == pytest.approx(made[name], abs=1e-4), name
    assert found.loras is not None
    if made["lora_file"] is None:
        assert found.loras == []
    else:
        (lora,) = found.loras
        assert (lora.name, lora.strength) == (made["lora_file"], made["network_multiplier"])


@pytest.mark.parametrize(
    "truth", [truth for truth in TRUTHS if truth["class"] == "D"], ids=lambda truth: truth["file"]
)
def test_a_request_states_what_the_server_rendered(truth: dict[str, Any]) -> None:
    found, made = read(truth).settings, truth["truth"]
    assert found.tool is Tool.REFERENCE_SERVER
    for name in ("prompt", "width", "height", "seed", "sample_steps", "guidance_scale"):
        assert found.value(name) == made[name]
    assert found.loras is not None
    assert found.loras[0].strength == made["network_multiplier"]


@pytest.mark.parametrize(
    "truth", [truth for truth in TRUTHS if truth["metadata"] == "none"], ids=lambda t: t["file"]
)
def test_an_image_without_metadata_states_nothing(truth: dict[str, Any]) -> None:
    found = read(truth)
    assert found.settings.stated == {}
    assert found.settings.loras is None
    assert list(found.size) == truth["truth"]["size_saved"]


def test_a_bypassed_lora_is_named_as_switched_off() -> None:
    found = read_inference_image(IMAGES / "flex2_00009_.webp").settings
    assert found.loras_off == [
        "emoji_inkprint_000000200.safetensors is bypassed (node 12 LoraLoaderModelOnly)"
    ]
    assert (found.value("webp_quality"), found.value("webp_method")) == (90, 4)


@pytest.mark.parametrize("mode", [[], {}, None, "4", 4.5])
def test_an_editor_node_whose_mode_is_no_number_is_not_off(mode: object, tmp_path: Path) -> None:
    graph = {"nodes": [{"id": 1, "type": "LoraLoader", "mode": mode, "widgets_values": ["a.safetensors"]}]}
    texts = PngInfo()
    texts.add_text("prompt", json.dumps({"1": {"class_type": "SaveImage", "inputs": {}}}))
    texts.add_text("workflow", json.dumps(graph))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=texts)
    found = read_inference_image(tmp_path / "a.png").settings
    assert (found.tool, found.loras_off) == (Tool.COMFYUI, [])


def test_defaults_that_were_left_are_told_from_what_was_set() -> None:
    found = read_inference_image(IMAGES / "inkprint_00002_.png").settings
    assert found.stated["max_sequence_length"].default
    assert not found.stated["guidance_scale"].default
    assert found.stated["guidance_scale"].place == "node 25 Flex2Conditioner, guidance"


def test_a_hash_that_forge_recorded_is_kept() -> None:
    loras = read_inference_image(IMAGES / "00000-42.png").settings.loras
    assert loras is not None
    assert (loras[0].stem, loras[0].hash) == ("emoji_inkprint_000000300", "783b14878c5e")


def test_reading_an_image_loads_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.importers.image_metadata.read_image import read_inference_image\n"
        f"read_inference_image(Path({str(IMAGES / 'inkprint_00001_.png')!r}))\n"
        "assert not {'torch', 'diffusers', 'pandas', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"no image", b"GIF89a" + bytes(20)])
def test_what_is_no_image_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_inference_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.png"):
        with pytest.raises(ImageError):
            read_inference_image(path)


def test_both_kinds_of_files_beside_an_image_are_refused(tmp_path: Path) -> None:
    request = IMAGES / "result_0.request.json"
    with pytest.raises(RequestError, match="give one of the two"):
        read_inference_image(IMAGES / "result_0.jpg", request=[request], settings=request)

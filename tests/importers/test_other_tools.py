"""Infotexts of A1111, Forge and SD.Next, SwarmUI's and InvokeAI's JSON, the server's files, files by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.errors import RequestError
from harness.importers.image_metadata.inference_settings import Tool
from harness.importers.image_metadata.infotext import read_infotext
from harness.importers.image_metadata.invokeai import read_invokeai
from harness.importers.image_metadata.read_image import read_inference_image, stated_in
from harness.importers.image_metadata.swarmui import read_swarmui
from harness.importers.image_metadata.text_chunks import ImageTexts, user_comment

INFOTEXT = """a cat, (sofa:1.2) <lora:my lora:0.8> <lora:other:1>
in two lines
Negative prompt: dark
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3.5, Seed: 7, Size: 512x768, \
Lora hashes: "my lora: ABCDEF012345, other: 00112233aabb", Denoising strength: 0.4, Version: v1.10.1"""


def test_an_infotext_of_a1111_is_read() -> None:
    found = read_infotext(INFOTEXT, source="a test")
    assert found is not None
    assert found.tool is Tool.A1111
    assert found.value("prompt") == "a cat, (sofa:1.2)  \nin two lines"
    assert found.value("neg") == "dark"
    assert (found.value("width"), found.value("height"), found.value("seed")) == (512, 768, 7)
    assert (found.value("cfg"), found.value("schedule"), found.value("sampler")) == (
        3.5,
        "karras",
        "DPM++ 2M",
    )
    assert found.loras is not None
    assert [(lora.name, lora.strength, lora.hash) for lora in found.loras] == [
        ("my lora", 0.8, "abcdef012345"), ("other", 1.0, "00112233aabb"),
    ]  # fmt: skip
    assert found.unknown == ["Denoising strength: 0.4"]


@pytest.mark.parametrize(
    ("more", "tool"),
    [
        ("Distilled CFG Scale: 3.5, Version: f2.0.1v1.10.1", Tool.FORGE),
        ("Version: neo", Tool.FORGE),
        ("App: SD.Next, Version: 1b2c3d4", Tool.SDNEXT),
        ("Version: v1.9.4", Tool.A1111),
    ],
)
def test_the_tools_that_share_the_form_are_told_apart(more: str, tool: Tool) -> None:
    found = read_infotext(f"a cat\nSteps: 20, Sampler: Euler, Seed: 1, {more}", source="a test")
    assert found is not None
    assert found.tool is tool


def test_forge_without_rng_drew_its_noise_on_the_gpu() -> None:
    found = read_infotext("a\nSteps: 2, Seed: 1, Distilled CFG Scale: 3", source="a test")
    assert found is not None
    assert found.stated["generator"].value == "cuda"
    assert found.stated["generator"].default


TAGS = {
    "<lora:a>": ("a", 1.0), "<lora:a:0.8>": ("a", 0.8), "<lora:a:1:0.5>": ("a", 0.5),
    "<lora:a:te=0:unet=0.7>": ("a", 0.7), "<LORA:a:te=0.6>": ("a", 0.6), "<lyco:a:0.4>": ("a", 0.4),
    "<lora:a:much>": ("a", None),
}  # fmt: skip


@pytest.mark.parametrize(("tag", "wanted"), TAGS.items())
def test_of_two_strengths_the_models_counts(tag: str, wanted: tuple[str, float | None]) -> None:
    found = read_infotext(f"a cat {tag}\nSteps: 20, Seed: 1", source="a test")
    assert found is not None
    assert found.loras is not None
    assert [(lora.name, lora.strength) for lora in found.loras] == [wanted]
    assert (found.value("prompt"), found.unknown) == ("a cat", [])


@pytest.mark.parametrize("tag", ["<hypernet:a:1>", "<lora:a:1:lbw=OUTALL>"])
def test_other_tags_in_a_prompt_are_named_and_not_encoded(tag: str) -> None:
    found = read_infotext(f"a cat {tag}\nSteps: 20, Seed: 1", source="a test")
    assert found is not None
    assert found.value("prompt") == "a cat"
    assert len(found.unknown) == 1


def test_t5_in_few_bits_is_read_from_forges_modules() -> None:
    line = "Steps: 20, Seed: 1, Version: f2.0.1, Module 1: ae, Module 2: clip_l, Module 3: t5xxl_fp8_e4m3fn"
    found = read_infotext(f"a cat\n{line}", source="a test")
    assert found is not None
    assert found.stated["quantize"].value == "fp8_e4m3fn-te"
    assert found.stated["quantize"].place == "Module 3"


@pytest.mark.parametrize("text", ["", "a cat", "Steps: 20\nSeed", "Steps: ", "\0" * 50])
def test_what_is_no_infotext_is_none_or_empty(text: str) -> None:
    found = read_infotext(text, source="a test")
    assert found is None or "seed" not in found.stated


@given(st.text(max_size=200))
def test_any_infotext_gives_settings(text: str) -> None:
    read_infotext(f"{text}\nSteps: {text}", source="a test")


@given(st.binary(max_size=60))
def test_any_user_comment_is_text(raw: bytes) -> None:
    assert isinstance(user_comment(b"UNICODE\0" + raw), str)
    assert isinstance(user_comment(raw), str)


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
def test_a_user_comment_is_read_in_either_order_of_bytes(order: str) -> None:
    assert user_comment(b"UNICODE\0" + "a cat – ü".encode(order)) == "a cat – ü"


SWARM = {
    "prompt": "a cat", "negativeprompt": "", "model": "flex2", "seed": 5, "steps": 20, "cfgscale": 1.0,
    "fluxguidancescale": 4.0, "width": 512, "height": 512, "sampler": "euler", "scheduler": "simple",
    "loras": ["sub/a.safetensors", "b"], "loraweights": ["0.8", "0"], "swarm_version": "0.9.6.2",
}  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        b"UNICODE\0" + "\ufeffa cat – ü".encode("utf-16-be"),
        b"UNICODE\0" + "a cat – ü".encode("utf-16"),
        b"UNICODE\0" + "a cat – ü".encode(),
        b"\0" * 8 + "a cat – ü".encode(),
    ],
)
def test_a_user_comment_is_read_with_a_mark_of_its_order_and_in_utf_8(raw: bytes) -> None:
    assert user_comment(raw) == "a cat – ü"


def test_a_user_comment_in_jis_is_read_without_its_code() -> None:
    assert user_comment(b"JIS\0\0\0\0\0" + "a cat 猫".encode("iso2022_jp")) == "a cat 猫"


@pytest.mark.parametrize("place", ["parameters", "UserComment"])
def test_swarmui_is_read_where_it_writes(place: str) -> None:
    text = json.dumps({"sui_image_params": SWARM, "sui_extra_data": {}})
    found = stated_in(ImageTexts("PNG", (512, 512), {place: text}))
    assert found.tool is Tool.SWARMUI
    assert (found.value("seed"), found.value("guidance_scale"), found.version) == (5, 4.0, "0.9.6.2")
    assert found.loras is not None
    assert [(lora.stem, lora.strength) for lora in found.loras] == [("a", 0.8)]


SWARM_STORED: dict[str, tuple[dict[str, str], str | None, bool]] = {
    "its own T5": ({}, "fp8_e4m3fn-te", True),
    "T5 in fp16": ({"txxlmodel": "t5xxl_fp16"}, None, False),
    "T5 in GGUF": ({"txxlmodel": "t5-v1_1-xxl-encoder-Q8_0.gguf"}, "gguf_q8_0-te", False),
    "a base in fp8": (
        {"preferreddtype": "fp8_e5m2", "txxlmodel": "t5xxl_fp16"},
        "fp8_e5m2-transformer",
        False,
    ),
    "both": ({"model": "a/flex2-fp8", "txxlmodel": "t5xxl_fp8"}, "fp8_e4m3fn", False),
}


@pytest.mark.parametrize(("more", "wanted", "default"), SWARM_STORED.values(), ids=SWARM_STORED)
def test_swarmuis_base_and_t5_in_few_bits(more: dict[str, str], wanted: str | None, default: bool) -> None:
    text = json.dumps({"sui_image_params": {**SWARM, **more}})
    found = stated_in(ImageTexts("PNG", (512, 512), {"parameters": text}))
    stated = found.stated.get("quantize")
    assert (stated.value if stated else None) == wanted
    assert (stated is not None and stated.default) is default
    assert found.loras is not None
    assert found.loras[0].strength_place == "loraweights"


def test_invokeais_t5_in_few_bits() -> None:
    body = {"positive_prompt": "a cat", "t5_encoder": {"name": "t5_bnb_int8_quantized_encoder"}}
    found = stated_in(ImageTexts("PNG", (512, 512), {"invokeai_metadata": json.dumps(body)}))
    assert found.value("quantize") == "bnb_int8-te"


def test_invokeai_is_read() -> None:
    body = {
        "app_version": "5.6.0", "positive_prompt": "a cat", "seed": 5, "steps": 20, "guidance": 4.0,
        "cfg_scale": 1.0, "width": 512, "height": 512, "scheduler": "euler", "model": {"name": "flex2"},
        "loras": [{"model": {"name": "a"}, "weight": 0.75}],
    }  # fmt: skip
    found = stated_in(ImageTexts("PNG", (512, 512), {"invokeai_metadata": json.dumps(body)}))
    assert found.tool is Tool.INVOKEAI
    assert (found.value("guidance_scale"), found.value("sample_steps")) == (4.0, 20)
    assert found.loras is not None
    assert (found.loras[0].name, found.loras[0].strength) == ("a", 0.75)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["loras", "model", "weight", "sui_image_params", "positive_prompt", "seed"]),
                x,
            )
        ),
        max_leaves=9,
    )
)
def test_any_json_gives_settings_or_none(body: object) -> None:
    text = json.dumps({"sui_image_params": body, "positive_prompt": "", "loras": body, "model": body})
    read_swarmui(text, source="a test")
    read_invokeai(text, source="a test")


def test_a_text_that_no_reader_knows_is_named() -> None:
    found = stated_in(ImageTexts("PNG", (8, 8), {"parameters": "hello"}, ("prompt",)))
    assert len(found.unknown) == 2
    assert found.tool is Tool.UNKNOWN


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "r_output_1.jpg")
    return tmp_path / "r_output_1.jpg"


REQUEST = {
    "model": "flex2", "loras": [{"path": "a.safetensors"}],
    "prompts": [{"prompt": "a", "seed": 3}, {"prompt": "b", "seed": -1}],
}  # fmt: skip


def test_a_result_names_the_prompt_and_the_seed_that_was_drawn(image: Path) -> None:
    request, result = image.parent / "request.json", image.parent / "result.json"
    request.write_text(json.dumps(REQUEST))
    outputs = [
        {"file_path": "/tmp/r_output_0.jpg", "seed": 3},
        {"file_path": "/tmp/r_output_1.jpg", "seed": 99},
    ]
    result.write_text(json.dumps({"status": "succeeded", "outputs": {"images": outputs}}))
    found = read_inference_image(image, request=[result, request]).settings
    assert (found.value("prompt"), found.value("seed")) == ("b", 99)
    alone = read_inference_image(image, request=[request]).settings
    assert (alone.value("prompt"), alone.value("seed")) == ("b", None)
    assert "drew one" in alone.notes[0]


def test_a_request_of_several_prompts_needs_to_know_which(image: Path) -> None:
    (image.parent / "request.json").write_text(json.dumps(REQUEST))
    other = image.rename(image.with_name("mine.jpg"))
    with pytest.raises(RequestError, match="which of them made mine"):
        read_inference_image(other, request=[image.parent / "request.json"])
    with pytest.raises(RequestError, match="cannot be read"):
        read_inference_image(other, request=[image.parent / "nothing.json"])
    with pytest.raises(RequestError, match="2 requests"):
        read_inference_image(other, request=[image.parent / "request.json"] * 2)


def test_a_settings_file_by_hand_is_read_strictly(image: Path) -> None:
    file = image.parent / "mine.yaml"
    file.write_text("tool: comfyui\nseed: 3\nlora: {file: a.safetensors, network_multiplier: 0.5}\n")
    found = read_inference_image(image, settings=file).settings
    assert (found.tool, found.value("seed"), found.loras and found.loras[0].strength) == ("comfyui", 3, 0.5)
    file.write_text("lora: none\n")
    assert read_inference_image(image, settings=file).settings.loras == []
    for text, said in (
        ("sed: 3\n", "did you mean 'seed'"),
        ("tool: paint\n", "choose comfyui"),
        ("- 1\n", "mapping"),
        ("quantize: nf5\n", "a quantizer that harness schema lists"),
    ):
        file.write_text(text)
        with pytest.raises(RequestError, match=said):
            read_inference_image(image, settings=file)

"""What an image says of itself against its case, without a model."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.comparison.compare import Comparison, compare
from harness.comparison.image_request import image_request, taken_back
from harness.comparison.setting_row import State
from harness.comparison.static_difference import static_difference
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.importers.image_metadata.read_image import InferenceImage
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from tests.comparison.conftest import IMAGES, TRUTHS, case_of, requests_of, truth_of

STATED = [each for each in TRUTHS if each["metadata"] != "none" or "request" in each]
BLANKS, LATENTS = {"blank_control", "blank_mask"}, {"latents_dtype": "latents"}

Cases = dict[tuple[int, int], Case]


def static(truth: dict[str, Any], cases: Cases) -> Comparison:
    return compare(case_of(truth, cases), IMAGES / truth["file"], request=requests_of(truth), static=True)


def with_infotext(path: Path, text: str) -> Path:
    info = PngInfo()
    info.add_text("parameters", text)
    Image.new("RGB", (128, 128)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("truth", STATED, ids=lambda each: each["file"])
def test_all_settings_that_differ_are_named_and_no_other(truth: dict[str, Any], cases: Cases) -> None:
    found = static(truth, cases)
    assert sorted({row.setting for row in found.differences}) == sorted(
        each["axis"] for each in truth["differs_from_preview"]
    )
    own = {LATENTS.get(each["axis"], each["axis"]) for each in truth["tool_dialect"]}
    own = own - BLANKS | ({"blanks"} if own & BLANKS else set())
    assert {row.setting for row in found.tools_own} - {"timestep", "kernels"} == own


def test_an_image_with_no_difference_says_so_and_whose_way_it_is(cases: Cases) -> None:
    from harness.comparison.wording import sentences

    lines = list(sentences(static(truth_of("inkprint_00001_.png"), cases)))
    said = next(line for line in lines if line.startswith("no setting differs"))
    assert "the tool's own way (schedule, shift, blanks" in said


def test_what_to_change_is_said_in_the_tools_words(cases: Cases) -> None:
    assert (
        "node 25 Flex2Conditioner, guidance: 3.5 → 4.0"
        in static(truth_of("inkprint_00002_.png"), cases).changes
    )
    forge = static(truth_of("00000-42.png"), cases).changes
    assert "Distilled CFG Scale: 3.5 → 4.0" in forge
    assert "in the prompt, <lora:…:0.8> → <lora:…:1>" in forge
    assert static(truth_of("result_1.jpg"), cases).changes == ["prompts[0].guidance_scale: 3.0 → 4.0"]
    off = static(truth_of("flex2_00009_.webp"), cases).changes
    assert any("is bypassed (node 12 LoraLoaderModelOnly)" in line for line in off)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("inkprint a (large:1.2) cat", "prompt_weights"),
        ("inkprint a large cat on a white background <lora:emoji_inkprint:1> <lora:other:0.5>", "lora"),
        ("inkprint a large cat on a white background <lora:emoji_inkprint_000000100:1>", "lora"),
    ],
)
def test_further_differences_of_an_infotext(text: str, setting: str, cases: Cases, tmp_path: Path) -> None:
    line = (
        "\nSteps: 25, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 4, Seed: 42, "
    )
    image = with_infotext(tmp_path / "a.png", text + line + "Size: 128x128, RNG: CPU")
    found = compare(cases[300, 0], image, static=True)
    assert setting in {row.setting for row in found.differences}


def stated_loras(case: Case, *loras: LoraUse) -> list[tuple[State, str]]:
    settings = InferenceSettings(Tool.FORGE, "a test", loras=list(loras))
    rows = static_difference(case, InferenceImage(case.preview_path, "PNG", (128, 128), settings))
    return [(row.state, row.note) for row in rows if row.setting == "lora"]


def test_a_lora_is_known_by_its_hash_before_its_name(cases: Cases) -> None:
    case = cases[300, 0]
    own, other = "783b14878c5e", "e0ac07c6e0a6"
    renamed = stated_loras(case, LoraUse("mine", 1.0, "", own))
    assert renamed == [(State.SAME, "renamed; its hash tells")]
    assert stated_loras(case, LoraUse("emoji_inkprint", 1.0, "", other))[0][0] is State.DIFFERS
    overwritten = stated_loras(case, LoraUse("emoji_inkprint", 1.0, "", "0" * 12))
    assert overwritten == [(State.DIFFERS, "its hash is that of no file beside the case")]
    assert stated_loras(case, LoraUse("sub\\EMOJI_inkprint.safetensors", 1.0, ""))[0][0] is State.SAME
    assert stated_loras(case, LoraUse("mine", 1.0, ""))[0][0] is State.UNKNOWN
    assert stated_loras(case, LoraUse("emoji_inkprint_000000300", 1.0, ""))[0][0] is State.SAME


def test_a_base_in_few_bits_is_named_and_rendered_as_the_tool_has_it(cases: Cases) -> None:
    case, none = cases[300, 0], RunOptions()
    settings = InferenceSettings(Tool.COMFYUI, "a test", loras=[LoraUse("emoji_inkprint", 1.0, "")])
    settings.put("quantize", "fp8_e5m2-transformer", "node 1 UNETLoader, weight_dtype")
    settings.put("lora_mode", "stochastic", "node 1 UNETLoader, weight_dtype")
    image = InferenceImage(case.preview_path, "PNG", (128, 128), settings)
    row = next(row for row in static_difference(case, image) if row.setting == "quantize")
    assert (row.preview, row.inference, row.state) == ("none", "fp8_e5m2-transformer", State.DIFFERS)
    assert "rounded at random" in row.note
    own = request_of(case, none, "cpu")
    request, problems = image_request(case, own, settings)
    assert (request.quantize, request.lora_mode, problems) == ("fp8_e5m2-transformer", "stochastic", [])
    back = taken_back(request, own, "quantize")
    assert (back.quantize, back.effective_lora_mode) == ("none", "fused")
    settings.stated.clear()
    settings.put("quantize", "gguf_q4_k-transformer", "node 1 UnetLoaderGGUF, unet_name")
    request, problems = image_request(case, own, settings)
    assert (request.quantize, request.lora_mode) == ("none", "fp32")
    assert "a base in gguf_q4_k-transformer is not rendered here (cannot be computed" in problems[0]


def test_legacy_noise_is_said_to_be_out_of_reach(cases: Cases) -> None:
    case = cases[300, 0].model_copy(update={"noise": "legacy"})
    case._file = cases[300, 0]._file
    found = compare(case, IMAGES / "inkprint_00001_.png", static=True)
    assert any("no seed of this tool draws" in line for line in found.changes)


def test_an_image_without_metadata_says_what_is_not_known(cases: Cases) -> None:
    found = static(truth_of("cat_clean.png"), cases)
    assert found.to_json()["unknown"][:2] == ["prompt", "seed"]
    assert found.differences == []


def test_another_size_is_incomparable_with_the_reason(cases: Cases, tmp_path: Path) -> None:
    case = cases[300, 0]
    with Image.open(case.preview_path) as image:
        image.resize((96, 96)).save(tmp_path / "small.png")
        image.crop((20, 30, 116, 126)).save(tmp_path / "cut.png")
        image.resize((200, 100)).save(tmp_path / "wide.png")
    reasons = [
        compare(case, tmp_path / f"{name}.png", static=True).incomparable or "" for name in ("small", "cut")
    ]
    assert "scaled by 0.75" in reasons[0]
    assert "a cut-out of the picture, at x 20, y 30" in reasons[1]
    assert "of another form" in (compare(case, tmp_path / "wide.png", static=True).incomparable or "")


def test_the_json_is_as_documented(cases: Cases) -> None:
    body = static(truth_of("inkprint_00002_.png"), cases).to_json()
    assert list(body) == [
        "case", "image", "tool", "source", "incomparable", "differences", "dialect", "remaining", "unknown",
        "notes", "changes", "proof",
    ]  # fmt: skip
    (difference,) = body["differences"]
    assert {key: difference[key] for key in ("setting", "preview", "inference", "source")} == {
        "setting": "guidance_scale", "preview": 4.0, "inference": 3.5, "source": "metadata",
    }  # fmt: skip
    assert body["dialect"]["name"] == "comfyui"


def test_a_static_answer_loads_neither_torch_nor_diffusers(cases: Cases) -> None:
    from tests.test_import_cost import heavy_after

    path = cases[300, 0]._file
    code = (
        "from pathlib import Path\nimport harness\n"
        "harness.compare(harness.load_case(Path(sys.argv[1])), Path(sys.argv[2]), static=True)"
    )
    assert heavy_after(f"import sys\n{code}", str(path), str(IMAGES / "inkprint_00002_.png")) == []


def test_an_image_named_like_a_row_of_hostile_text_stays_one_line(cases: Cases, tmp_path: Path) -> None:
    from harness.comparison.wording import sentences

    image = with_infotext(tmp_path / "a.png", "a\n\x1b[31m cat\nSteps: 25, Seed: 42, Sampler: \x1b[2J")
    for line in sentences(compare(cases[300, 0], image, static=True)):
        assert "\n" not in line
        assert "\x1b" not in line


def test_a_case_that_cannot_be_rerun_says_so(cases: Cases, tmp_path: Path) -> None:
    case = cases[300, 0].model_copy(update={"incomparable": "its seed was random"})
    case._file = cases[300, 0]._file
    shutil.copy(IMAGES / "out_0.png", tmp_path / "a.png")
    assert "seed was random" in (compare(case, tmp_path / "a.png").incomparable or "")
    assert dataclasses.is_dataclass(Comparison)

"""What an image says of itself against its case, without a model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file

from harness._util.atomic_files import sha256_file
from harness.comparison.advice import advice
from harness.comparison.compare import Comparison, compare
from harness.comparison.image_request import image_request, taken_back
from harness.comparison.setting_row import SettingRow, State
from harness.comparison.static_difference import static_difference
from harness.comparison.wording import sentences
from harness.importers.image_metadata.graph_text import NO_GUIDANCE
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.importers.image_metadata.read_image import InferenceImage
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case, save_case
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


def altered(cases: Cases, folder: Path, kind: str, **inputs: object) -> Comparison:
    """Compare a picture that no setting differs in with one input of its ComfyUI graph altered."""
    source = IMAGES / "inkprint_00001_.png"
    with Image.open(source) as image:
        graph = json.loads(image.info["prompt"])
        next(each for each in graph.values() if each["class_type"] == kind)["inputs"].update(inputs)
        text = PngInfo()
        text.add_text("prompt", json.dumps(graph))
        image.save(folder / "a.png", pnginfo=text)
    return compare(cases[300, 0], folder / "a.png", static=True)


@pytest.mark.parametrize(
    ("kind", "inputs", "change"),
    [
        ("UNETLoader", {"unet_name": "flux1-dev.safetensors"},
         "node 70 UNETLoader, unet_name: flux1-dev.safetensors (FLUX) → Flex.2"),
        ("UNETLoader", {"unet_name": "a/Flex.1-alpha.safetensors"},
         "node 70 UNETLoader, unet_name: Flex.1-alpha.safetensors (Flex.1-alpha) → Flex.2"),
        ("DualCLIPLoader", {"clip_name2": "t5xxl_fp8_e4m3fn.safetensors"},
         "node 11 DualCLIPLoader, clip_name2, by the file's name: fp8_e4m3fn → a file in fp16 or bf16"),
        ("LoraLoaderModelOnly", {"strength_model": 0.8},
         "node 30 LoraLoaderModelOnly, strength_model: 0.8 → 1.0"),
    ],
)  # fmt: skip
def test_one_input_of_a_graph_altered_is_what_is_to_change(
    kind: str, inputs: dict[str, object], change: str, cases: Cases, tmp_path: Path
) -> None:
    found = altered(cases, tmp_path, kind, **inputs)
    assert len(found.differences) == 1
    assert change in found.changes


@pytest.mark.parametrize("name", ["flux/Flex.2-preview.safetensors", "flux/mine.safetensors"])
def test_the_folder_of_a_model_does_not_tell_which_it_is(name: str, cases: Cases, tmp_path: Path) -> None:
    assert altered(cases, tmp_path, "UNETLoader", unet_name=name).differences == []


def test_what_was_not_understood_is_not_said_to_be_the_tools_way(cases: Cases, tmp_path: Path) -> None:
    found = altered(cases, tmp_path, "DualCLIPLoader", type="sd3")
    said = "\n".join(sentences(found))
    assert "what was not may separate the two" in said
    assert "the tool's own way (" not in said


def test_where_no_node_sets_guidance_one_is_to_be_added(cases: Cases) -> None:
    row = SettingRow("guidance_scale", 4.0, 3.5, State.DIFFERS, NO_GUIDANCE)
    assert advice(cases[300, 0], Tool.COMFYUI, [row]) == [
        "add FluxGuidance behind the text encoder: guidance 4.0 (without it 3.5)"
    ]


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


def test_a_lora_that_was_saved_again_is_known_by_its_weights(cases: Cases, tmp_path: Path) -> None:
    case = cases[300, 0]
    assert case.lora_path is not None
    (tmp_path / "loras").mkdir()
    saved_again = tmp_path / "loras" / "mine.safetensors"
    save_file(load_file(case.lora_path), saved_again)  # no metadata: no hash either
    assert case.lora is not None
    lora = case.lora.model_copy(update={"file": "loras/mine.safetensors"})
    moved = save_case(case.model_copy(update={"lora": lora}), tmp_path / "a.case.yaml")
    for recorded in ("783b14878c5e", sha256_file(saved_again)[:12]):
        (found,) = stated_loras(moved, LoraUse("theirs", 1.0, "", recorded))
        assert found == (State.SAME, "renamed; its hash tells")
    assert stated_loras(moved, LoraUse("mine", 1.0, "", "0" * 12))[0][0] is State.DIFFERS


def test_an_extra_lora_is_to_be_removed(cases: Cases, tmp_path: Path) -> None:
    text = (
        "a <lora:emoji_inkprint:1> <lora:other:0.5> <lora:third:1>\n"
        "Steps: 25, Sampler: Euler, CFG scale: 1, Seed: 42, Size: 128x128"
    )
    found = compare(cases[300, 0], with_infotext(tmp_path / "a.png", text), static=True)
    assert [line for line in found.changes if "remove" in line or "emoji_inkprint" in line] == [
        "<lora:other:…> in the prompt: remove other, which the preview was rendered without",
        "<lora:third:…> in the prompt: remove third, which the preview was rendered without",
    ]


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
    settings.put("lora_mode", "unpacked", "node 1 UnetLoaderGGUF, unet_name")
    request, problems = image_request(case, own, settings)
    assert (request.quantize, request.lora_mode, problems) == ("gguf_q4_k-transformer", "unpacked", [])
    assert request.dialect.unpacking == "fp16"
    settings.put("unpacking", "fp32", "node 1 UnetLoaderGGUFAdvanced, dequant_dtype")
    assert image_request(case, own, settings)[0].dialect.unpacking == "fp32"
    row = next(row for row in static_difference(case, image) if row.setting == "quantize")
    assert row.note.endswith("; unpacked in fp32 (node 1 UnetLoaderGGUFAdvanced, dequant_dtype)")
    settings.stated.clear()
    settings.put("quantize", "gguf_iq4_xs-transformer", "node 1 UnetLoaderGGUF, unet_name")
    request, problems = image_request(case, own, settings)
    assert (request.quantize, request.lora_mode) == ("none", "fp32")
    assert "a base in gguf_iq4_xs-transformer is not rendered here (its quantizer is not" in problems[0]


def test_numbers_without_an_end_are_not_rendered(cases: Cases) -> None:
    """A stranger may state -3 steps, which was an error of the pipeline, or a billion."""
    case, own = cases[300, 0], request_of(cases[300, 0], RunOptions(), "cpu")
    wild = {"sample_steps": 10**9, "width": 0, "height": 9000, "guidance_scale": 1e99, "mu": 1e6}
    settings = InferenceSettings(Tool.DIFFUSERS, "a test")
    for name, value in wild.items():
        settings.put(name, value, "somewhere")
    request, problems = image_request(case, own, settings)
    assert request == own
    assert [line.split()[0] for line in problems] == [
        "width",
        "height",
        "sample_steps",
        "guidance_scale",
        "mu",
    ]
    assert problems[2] == "sample_steps 1e+09 is not rendered here: 25 in its place"


def test_legacy_noise_is_said_to_be_out_of_reach(cases: Cases) -> None:
    case = cases[300, 0].model_copy(update={"noise": "legacy"})
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


@pytest.mark.parametrize(
    ("line", "differs"),
    [
        ("dtype: bfloat16", []), ("dtype: torch.bfloat16", []), ("dtype: float16", ["dtype"]),
        ("quantize: nf4-transformer", ["quantize"]), ("model: black-forest-labs/FLUX.1-dev", ["base"]),
        ("model: ostris/Flex.2-preview", []),
    ],
)  # fmt: skip
def test_a_line_of_a_settings_file(line: str, differs: list[str], cases: Cases, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"tool: diffusers\n{line}\n")
    found = compare(cases[300, 0], IMAGES / "out_0.png", settings=tmp_path / "mine.yaml", static=True)
    assert [row.setting for row in found.differences] == differs


def test_a_picture_of_one_colour_is_not_searched(cases: Cases, tmp_path: Path) -> None:
    Image.new("RGB", (128, 128)).save(tmp_path / "black.png")
    found = compare(cases[300, 0], tmp_path / "black.png")
    assert found.incomparable is not None
    assert "one flat colour" in found.incomparable
    assert found.proof is None


def test_a_file_of_the_job_is_recognized(cases: Cases, tmp_path: Path) -> None:
    case, other = cases[300, 0], cases[300, 3]
    for each, said in ((case, "the preview itself"), (other, "another preview of the job")):
        copy = shutil.copy(each.preview_path, tmp_path / "a.jpg")
        assert any(said in note for note in compare(case, Path(copy), static=True).image.settings.notes)


def test_the_previews_pixels_in_another_file_are_recognized(cases: Cases, tmp_path: Path) -> None:
    case, said = cases[300, 0], "its pixels are those of the preview, in another file"
    with Image.open(case.preview_path) as preview:
        preview.save(tmp_path / "same.png")
        preview.save(tmp_path / "near.jpg", quality=95)
        preview.convert("RGBA").save(tmp_path / "not_read.png")
    for name, same in (("same.png", True), ("near.jpg", False), ("not_read.png", False)):
        notes = compare(case, tmp_path / name, static=True).image.settings.notes
        assert (said in notes) == same


def test_one_way_of_a_tool_is_one(cases: Cases) -> None:
    def told(*names: str) -> str:
        rows = [SettingRow(name, "a", "b", State.TOOL) for name in names]
        (line,) = advice(cases[300, 0], Tool.DIFFUSERS, rows)
        return line.removeprefix("Nothing you can set: ")

    assert told("t5_attention") == "t5_attention is this tool's way, and tiny"
    assert told("latents", "kernels") == "latents, kernels are this tool's way; together they are tiny"


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

    path = cases[300, 0].file
    code = (
        "from pathlib import Path\nimport harness\n"
        "harness.compare(harness.load_case(Path(sys.argv[1])), Path(sys.argv[2]), static=True)"
    )
    assert heavy_after(f"import sys\n{code}", str(path), str(IMAGES / "inkprint_00002_.png")) == []


def test_an_image_named_like_a_row_of_hostile_text_stays_one_line(cases: Cases, tmp_path: Path) -> None:
    image = with_infotext(tmp_path / "a.png", "a\n\x1b[31m cat\nSteps: 25, Seed: 42, Sampler: \x1b[2J")
    for line in sentences(compare(cases[300, 0], image, static=True)):
        assert "\n" not in line
        assert "\x1b" not in line


def test_a_case_that_cannot_be_rerun_says_so(cases: Cases, tmp_path: Path) -> None:
    case = cases[300, 0].model_copy(update={"incomparable": "its seed was random"})
    shutil.copy(IMAGES / "out_0.png", tmp_path / "a.png")
    assert "seed was random" in (compare(case, tmp_path / "a.png").incomparable or "")
    assert dataclasses.is_dataclass(Comparison)

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import harness.data
from harness.errors import HarnessError, ImageError, JobError, LoraError, RequestError
from harness.importers.inference_request import InferenceRequest
from harness.importers.server_request import import_request, resolve_prompt
from harness.schema.base import Base
from harness.schema.case import load_cases
from harness.schema.case_parts import SampleSettings

LORA = Path(harness.data.__file__).parent / "jobs" / "emoji_inkprint" / "emoji_inkprint.safetensors"


def request(folder: Path, prompts: list[dict[str, Any]], **fields: Any) -> Path:
    path = folder / "my request.json"
    path.write_text(json.dumps({"model": "flex2", "prompts": prompts, **fields}))
    return path


def image(folder: Path, name: str = "a.png", size: tuple[int, int] = (1024, 1024)) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def refused(path: Path, previews: list[Path], kind: type[HarnessError] = RequestError) -> str:
    out = path.parent / "cases"
    with pytest.raises(kind) as error:
        import_request(path, previews, out=out)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults_are_the_references(tmp_path: Path) -> None:
    result = import_request(request(tmp_path, [{"prompt": "a"}]), [image(tmp_path)], out=tmp_path / "cases")
    (case,) = result.cases
    assert case.id == "my request/0"
    assert case.settings == SampleSettings(
        prompt="a", neg="", width=1024, height=1024, seed=42, sample_steps=25, guidance_scale=4.0
    )
    assert (case.lora, case.incomparable) == (None, None)
    assert case.base == Base(repo="ostris/Flex.2-preview")
    assert any("ostris/Flex.2-preview" in line for line in result.assumptions)
    assert "no LoRA" in result.pairings[0].note


def test_everything_given(tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    shutil.copy(LORA, tmp_path / "loras" / "mine.safetensors")
    prompt = {
        "prompt": "[trigger] [name] --w 96",
        "width": 200,
        "height": 136,
        "seed": 7,
        "sample_steps": 12,
        "guidance_scale": 3,
        "neg": "dull",
        "trigger_word": "sks",
    }
    loras = [{"path": "loras/mine.safetensors", "network_multiplier": 0.5}]
    path = request(tmp_path, [prompt], loras=loras, trigger_word="other")
    preview, base = image(tmp_path, size=(192, 128)), Base(embedded="tiny-flex2-emoji")
    result = import_request(path, [preview], out=tmp_path / "cases", base=base)
    (case,) = load_cases([tmp_path / "cases"])
    assert case == result.cases[0]
    assert case.settings == SampleSettings(
        prompt="sks [name] --w 96",
        neg="dull",
        width=200,
        height=136,
        seed=7,
        sample_steps=12,
        guidance_scale=3.0,
    )
    assert case.lora is not None
    assert (case.lora.file, case.lora.network_multiplier) == ("loras/mine.safetensors", 0.5)
    assert (case.trained.software, case.trained.trigger_word) == ("ai-toolkit 0.12.26", "sks")
    assert case.trained.prompt_template == prompt["prompt"]
    assert case.incomparable is None
    case.verify()


@given(st.lists(st.none() | st.integers(-1, 2**32), min_size=1, max_size=6))
def test_seed_rule(seeds: list[int | None]) -> None:
    prompts = [{"prompt": "a", "seed": seed} for seed in seeds]
    body = InferenceRequest.model_validate({"model": "flex2", "prompts": prompts})
    for index, seed in enumerate(seeds):
        assert resolve_prompt(body, index).seed == (42 + index if seed is None else seed)


def test_trigger_word_of_the_request_where_the_prompt_has_none() -> None:
    prompts = [{"prompt": "a [trigger]"}, {"prompt": "a [trigger]", "trigger_word": "x"}]
    body = InferenceRequest.model_validate({"model": "flex2", "prompts": prompts, "trigger_word": "y"})
    assert [resolve_prompt(body, index).prompt for index in (0, 1)] == ["a y", "a x"]
    bare = InferenceRequest.model_validate({"model": "flex2", "prompts": prompts[:1]})
    assert resolve_prompt(bare, 0).prompt == "a [trigger]"


def test_images_of_one_name_do_not_collide(tmp_path: Path) -> None:
    images = [image(tmp_path, "one/a.png"), image(tmp_path, "two/a.png", (64, 64))]
    prompts = [{"prompt": "a"}, {"prompt": "b", "width": 64, "height": 64}]
    cases = import_request(request(tmp_path, prompts), images, out=tmp_path / "cases").cases
    assert [case.preview.file for case in cases] == ["previews/0_a.png", "previews/1_a.png"]
    assert [case.incomparable for case in cases] == [None, None]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"num_frames": 9}, "video"),
        ({"ctrl_img": "https://example.org/pose.png"}, "control image"),
        ({"width": 512}, "the image is 1024x1024, but the request renders 512x1024"),
    ],
)
def test_what_cannot_be_rerun_says_why(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    path = request(tmp_path, [{"prompt": "a", **fields}])
    (case,) = import_request(path, [image(tmp_path)], out=tmp_path / "cases").cases
    assert reason in str(case.incomparable)


@pytest.mark.parametrize("text", ["{", "", "\x00", "[" * 100_000])
def test_broken_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    assert "r.json: is not valid JSON" in refused(path, [])


def test_missing_file_and_other_shapes(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.json", [])
    (tmp_path / "r.json").write_text("[]")
    assert "holds no mapping" in refused(tmp_path / "r.json", [])


@pytest.mark.parametrize(
    ("prompt", "fields", "said"),
    [
        ({"prompt": "a", "seed": "4.5"}, {}, "prompts[0].seed"),
        ({"prompt": "a", "width": 128.5}, {}, "prompts[0].width"),
        ({"prompt": "a"}, {"loras": [{"path": "x", "transformer": "low"}]}, "400 MOE_FORMAT_NOT_SUPPORTED"),
        ({"prompt": "a"}, {"model": "flux"}, "model: 'flux' is no model; choose flex2 or flex1"),
        ({"prompt": "a", "width": 63}, {}, "prompts[0].width: Input should be greater than or equal to 64"),
        (
            {"prompt": "a", "height": 4097},
            {},
            "prompts[0].height: Input should be less than or equal to 4096",
        ),
        ({"prompt": "a", "sample_steps": 0}, {}, "prompts[0].sample_steps"),
        ({"prompt": "a", "guidance_scale": 20.5}, {}, "prompts[0].guidance_scale"),
        ({"prompt": "a", "seed": -2}, {}, "prompts[0].seed"),
        ({"width": 64}, {}, "prompts[0].prompt: Field required"),
        ({"prompt": "a"}, {"loras": [{"path": "x", "network_multiplier": 3}]}, "loras[0].network_multiplier"),
        ({"prompt": "a"}, {"loras": [{"path": "https://example.org/x"}]}, "loras[0].path"),
        ({"prompt": "a"}, {"prompts": []}, "prompts"),
    ],
)
def test_bad_fields(tmp_path: Path, prompt: dict[str, Any], fields: dict[str, Any], said: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"model": "flex2", "prompts": [prompt], **fields}))
    assert said in refused(path, [image(tmp_path)])


def test_token_is_not_kept(tmp_path: Path) -> None:
    path = request(tmp_path, [{"prompt": "a"}], hf_token="hf_secret")
    case = import_request(path, [image(tmp_path)], out=tmp_path / "cases").cases[0]
    assert "hf_secret" not in (case.folder / "0.case.yaml").read_text()


def test_one_image_per_prompt(tmp_path: Path) -> None:
    path = request(tmp_path, [{"prompt": "a"}, {"prompt": "b"}])
    assert "prompts: has 2 prompts for 1 images" in refused(path, [image(tmp_path)])


def test_bad_image_and_bad_lora(tmp_path: Path) -> None:
    assert "does not exist" in refused(
        request(tmp_path, [{"prompt": "a"}]), [tmp_path / "none.png"], ImageError
    )
    path = request(tmp_path, [{"prompt": "a"}], loras=[{"path": "none.safetensors"}])
    said = refused(path, [image(tmp_path)])
    assert "loras[0].path: 'none.safetensors' does not exist; bring the LoRA here" in said
    (tmp_path / "none.safetensors").mkdir()
    assert "none.safetensors: is a folder; name a .safetensors file in it" in refused(
        path, [image(tmp_path)], LoraError
    )


@pytest.mark.parametrize("path", ["a\x00b.safetensors", "\ud800.safetensors"])
def test_lora_path_that_no_file_can_have(tmp_path: Path, path: str) -> None:
    given = request(tmp_path, [{"prompt": "a"}], loras=[{"path": path}])
    said = refused(given, [image(tmp_path)])
    assert "loras[0].path: " in said
    assert repr(path) in said


def test_prompt_that_no_case_file_can_hold_installs_nothing(tmp_path: Path) -> None:
    images = [image(tmp_path, "a.png"), image(tmp_path, "b.png")]
    given = request(tmp_path, [{"prompt": "fine"}, {"prompt": "\ud800"}])
    said = refused(given, images, JobError)
    assert said.startswith(f"{images[1]}: ")
    assert "can be read back" in said


def test_seed_beyond_torch_is_refused(tmp_path: Path) -> None:
    given = request(tmp_path, [{"prompt": "a", "seed": 2**64}])
    assert "prompts[0].seed" in refused(given, [image(tmp_path)])

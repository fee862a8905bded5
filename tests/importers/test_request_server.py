"""Requests as the reference server takes them, and what its answer adds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import LoraError, RequestError
from harness.importers.draft import ImportResult
from harness.importers.server_request import import_request
from tests.importers.lora_files import alphas, rewrite, to_comfyui, to_kohya
from tests.importers.shared_jobs import LORA

DATA = Path(__file__).parents[1] / "data" / "requests"

Import = Callable[..., ImportResult]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Import a request of the test data beside the LoRA that it names."""
    shutil.copy(LORA, tmp_path / "lora.safetensors")

    def make(name: str, **options: Any) -> ImportResult:
        shutil.copy(DATA / f"{name}.json", tmp_path)
        return import_request(
            tmp_path / f"{name}.json", [DATA / "p0.jpg"], out=tmp_path / "cases" / name, **options
        )

    return make


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("plain", "seed", 42),
        ("str_seed", "seed", 42),
        ("float_seed", "seed", 42),
        ("float_seed", "width", 128),
        ("null_seed", "seed", 42),
        ("big_seed", "seed", 2**63),
        ("str_cfg", "guidance_scale", 4.0),
        ("int_cfg", "guidance_scale", 4.0),
        ("wrapped", "seed", 42),
    ],
)
def test_values_mean_what_the_server_makes_of_them(
    imported: Import, name: str, field: str, value: object
) -> None:
    (case,) = imported(name).cases
    assert (getattr(case.settings, field), case.incomparable) == (value, None)
    assert type(getattr(case.settings, field)) is type(value)
    assert case.settings.prompt == "inkprint a large cat on a white background"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("extra_key", "request_id, webhook"),
        ("extra_prompt_key", "prompts[0].batch_size, prompts[0].negative_prompt"),
    ],
)
def test_unknown_keys_are_named(imported: Import, name: str, keys: str) -> None:
    result = imported(name)
    assert result.cases[0].incomparable is None
    assert f"the server drops keys that it does not know: {keys}" in result.cases[0].assumptions


def test_two_loras_are_refused_as_the_server_does(imported: Import, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"loras: names 2 LoRAs, .* \(400 SINGLE_LORA_ONLY\)"):
        imported("two_loras")
    assert not (tmp_path / "cases").exists()


def test_no_lora_is_what_the_server_would_refuse(imported: Import) -> None:
    result = imported("no_loras")
    assert result.cases[0].lora is None
    assert (
        "the request names no LoRA, which the server refuses; the base alone is rendered"
        in result.assumptions
    )


def answer(folder: Path, *seeds: int, **fields: Any) -> Path:
    images = [
        {"format": "jpeg", "width": 128, "height": 128, "file_path": "/x.jpg", "seed": seed} for seed in seeds
    ]
    path = folder / "result.json"
    path.write_text(json.dumps({"status": "succeeded", "outputs": {"images": images, "videos": []}} | fields))
    return path


def random_request(folder: Path) -> Path:
    body = json.loads((DATA / "plain.json").read_text())
    body["prompts"][0]["seed"] = -1
    path = folder / "random.json"
    path.write_text(json.dumps(body))
    return path


def test_the_servers_answer_names_the_seed_that_it_drew(imported: Import, tmp_path: Path) -> None:
    request, preview = random_request(tmp_path), [DATA / "p0.jpg"]
    (case,) = import_request(request, preview, out=tmp_path / "a").cases
    assert "give that with --result" in str(case.incomparable)
    (case,) = import_request(request, preview, out=tmp_path / "b", result=answer(tmp_path, 1234567)).cases
    assert (case.settings.seed, case.incomparable) == (1234567, None)


def test_an_answer_beside_a_wrapped_request(imported: Import, tmp_path: Path) -> None:
    body = json.loads(random_request(tmp_path).read_text())
    outputs = json.loads(answer(tmp_path, 99).read_text())["outputs"]
    path = tmp_path / "both.json"
    path.write_text(json.dumps({"input": body, "outputs": outputs}))
    (case,) = import_request(path, [DATA / "p0.jpg"], out=tmp_path / "cases").cases
    assert case.settings.seed == 99


@pytest.mark.parametrize("outputs", [None, {}, {"images": [{"path": "a.jpg"}]}])
def test_an_answer_without_a_seed_leaves_that_of_the_request(
    imported: Import, tmp_path: Path, outputs: object
) -> None:
    plain = json.loads((DATA / "plain.json").read_text())
    (tmp_path / "open.json").write_text(json.dumps({"input": plain, "outputs": outputs}))
    result = import_request(tmp_path / "open.json", [DATA / "p0.jpg"], out=tmp_path / "cases")
    assert result.cases[0].settings.seed == 42


@pytest.mark.parametrize(
    ("seeds", "fields", "said"),
    [
        ((1, 2), {}, "has 1 prompts for 2 results"),
        ((1,), {"status": "failed"}, "status: is 'failed', not succeeded"),
        ((-1,), {}, r"outputs\.images\[0\]\.seed"),
        ((), {"outputs": None}, "outputs: "),
    ],
)
def test_answers_of_something_else(
    imported: Import, tmp_path: Path, seeds: tuple[int, ...], fields: dict[str, Any], said: str
) -> None:
    result = answer(tmp_path, *seeds, **fields)
    with pytest.raises(RequestError, match=said):
        imported("plain", result=result)
    assert not (tmp_path / "cases").exists()


def test_a_wrong_field_of_a_wrapped_request_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"input": {"model": "flex2", "prompts": [{"prompt": "a", "width": 1}]}}))
    with pytest.raises(RequestError, match=r"input\.prompts\[0\]\.width: "):
        import_request(path, [DATA / "p0.jpg"], out=tmp_path / "cases")


def test_loras_of_other_tools(imported: Import, tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    rewrite(LORA, lora, rename=to_kohya, extra=alphas(LORA, 8, to_kohya))
    (case,) = imported("plain").cases
    assert "kohya keys (lora_unet_…) are converted" in case.assumptions[0]
    rewrite(LORA, lora, rename=to_comfyui)
    with pytest.raises(LoraError, match="ComfyUI's keys"):
        imported("str_cfg")

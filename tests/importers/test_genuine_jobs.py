"""Every sample of the genuine jobs; expected values were worked out from their config.yaml by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness._util.atomic_files import sha256_file
from harness.importers.aitoolkit import import_job
from harness.schema.case import Case, load_cases
from harness.schema.case_parts import SampleSettings

Job = dict[str, Any]

INKPRINT: Job = {
    "base": "tiny-flex2-emoji",
    "multiplier": 1.0,
    "loras": {
        0: None,
        100: "emoji_inkprint_000000100.safetensors",
        200: "emoji_inkprint_000000200.safetensors",
        300: "emoji_inkprint.safetensors",
    },
    "pruned": set(),
    "settings": [
        ("inkprint a large cat on a white background", 128, 128, 42, 25, 4.0),
        ("inkprint a large penguin on a yellow background", 128, 128, 42, 25, 4.0),
        ("a large dog on a blue background", 128, 128, 7, 20, 3.0),
        ("inkprint a rocket and a star on a purple background", 128, 128, 42, 25, 4.0),
    ],
}
SIMPLE: Job = {
    "multiplier": 1.0,
    "loras": {
        0: None,
        10: "tiny_flex2_simple_v1_000000010.safetensors",
        20: "tiny_flex2_simple_v1_000000020.safetensors",
        30: "tiny_flex2_simple_v1.safetensors",
    },
    "pruned": set(),
    "settings": [
        ("portrait photo of tr1gg3r, black hat, studio light", 128, 128, 42, 16, 4.0),
        ("a red flower in a green forest", 128, 128, 42, 16, 4.0),
        ("a street in the city at night, rain", 96, 160, 7, 12, 3.0),
        ("moon over the sea, tr1gg3r style", 128, 128, 42, 16, 4.0),
    ],
}
Q8: Job = {
    "multiplier": 0.7,
    "loras": {
        0: None,
        10: None,
        20: "tiny_flex2_q8_000000020.safetensors",
        30: "tiny_flex2_q8_000000030.safetensors",
        40: "tiny_flex2_q8.safetensors",
    },
    "pruned": {10},
    "settings": [
        ("sks playing chess in the park", 128, 128, 42, 25, 4.0),
        ("a woman holding a coffee cup", 128, 128, 7, 25, 4.0),
        ("a bear building a cabin, snow on the mountains", 128, 128, 7, 25, 4.0),
    ],
}
LEGACY: Job = {
    "multiplier": 0.8,
    "loras": {0: None, 10: "legacy_jpg_q8_000000010.safetensors", 20: "legacy_jpg_q8.safetensors"},
    "pruned": set(),
    "settings": [
        ("photo of zwx in a coffee shop, morning", 128, 128, 99, 14, 4.0),
        ("a red flower in a green forest", 128, 128, 99, 14, 4.0),
        ("old house by the lake, snow", 160, 96, 99, 10, 5.0),
    ],
}
JOBS = {
    "emoji_inkprint": INKPRINT,
    "tiny_flex2_simple_v1": SIMPLE,
    "tiny_flex2_q8": Q8,
    "legacy_jpg_q8": LEGACY,
}
SAMPLES = [
    (name, step, index)
    for name, job in JOBS.items()
    for step in job["loras"]
    for index in range(len(job["settings"]))
]


@pytest.fixture(scope="module")
def imported(
    genuine: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Case]]:
    out = tmp_path_factory.mktemp("cases")
    return {
        name: {case.id: case for case in import_job(genuine(name), out=out / name).cases} for name in JOBS
    }


@pytest.mark.parametrize(("name", "step", "index"), SAMPLES)
def test_each_sample(imported: dict[str, dict[str, Case]], name: str, step: int, index: int) -> None:
    job = JOBS[name]
    case = imported[name][f"{name}/{step:09d}_{index}"]
    prompt, width, height, seed, steps, guidance = job["settings"][index]
    assert case.settings == SampleSettings(
        prompt=prompt,
        neg="",
        width=width,
        height=height,
        seed=seed,
        sample_steps=steps,
        guidance_scale=guidance,
    )
    assert (case.preview.step, case.preview.index) == (step, index)
    assert case.preview.size == (width, height)
    assert case.preview.file.endswith(f"__{step:09d}_{index}.jpg")
    lora = job["loras"][step]
    assert (Path(case.lora.file).name if case.lora else None) == lora
    if case.lora is not None:
        assert case.lora.network_multiplier == job["multiplier"]
    assert (case.incomparable is not None) == (step in job["pruned"])
    assert case.base.embedded == job.get("base", "tiny-flex2")
    case.verify()


@pytest.mark.parametrize("name", JOBS)
def test_nothing_but_these_samples(imported: dict[str, dict[str, Case]], name: str) -> None:
    assert sorted(imported[name]) == sorted(f"{n}/{s:09d}_{i}" for n, s, i in SAMPLES if n == name)


def test_what_the_training_recorded(imported: dict[str, dict[str, Case]]) -> None:
    simple = imported["tiny_flex2_simple_v1"]["tiny_flex2_simple_v1/000000010_3"].trained
    assert simple.model_dump(exclude_none=True) == {
        "arch": "flex2",
        "software": "ai-toolkit 0.12.26",
        "dtype": "bf16",
        "quantize": False,
        "quantize_te": False,
        "ema": False,
        "base": "tiny-flex2",
        "trigger_word": "tr1gg3r",
        "prompt_template": "moon over the sea, [trigger] style -- film grain",
        "sampler": "flowmatch",
    }
    for name in ("tiny_flex2_q8", "legacy_jpg_q8"):
        trained = imported[name][f"{name}/000000000_0"].trained
        assert (trained.quantize, trained.quantize_te) == (True, True)
        assert (trained.qtype, trained.qtype_te) == ("qfloat8", "qfloat8")
        assert trained.software == "ai-toolkit 0.12.26"


def test_reasons_and_assumptions(imported: dict[str, dict[str, Case]]) -> None:
    q8 = imported["tiny_flex2_q8"]
    assert "checkpoint of step 10 is missing" in str(q8["tiny_flex2_q8/000000010_1"].incomparable)
    assert any("that of sample 1" in line for line in q8["tiny_flex2_q8/000000020_2"].assumptions)
    assert not any("that of sample" in line for line in q8["tiny_flex2_q8/000000020_1"].assumptions)
    assert any("step 0" in line and "0.7" in line for line in q8["tiny_flex2_q8/000000000_0"].assumptions)
    simple = imported["tiny_flex2_simple_v1"]
    assert any("film grain" in line for line in simple["tiny_flex2_simple_v1/000000010_3"].assumptions)


def test_the_case_set_stands_alone(genuine: Callable[[str], Path], job: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    preview = sha256_file(job / "samples" / "1795423125136__000000010_0.jpg")
    result = import_job(job, out=out)
    job.rename(tmp_path / "gone")
    cases = load_cases([out])
    assert len(cases) == 16
    for case in cases:
        case.verify()
    assert next(case for case in cases if case.id.endswith("000000010_0")).preview.sha256 == preview
    assert len(list((out / "loras").iterdir())) == 3
    assert result.folder == out


def test_result_as_a_frame(job: Path, tmp_path: Path) -> None:
    result = import_job(job, out=tmp_path / "cases", steps="10")
    frame = result.frame()
    assert list(frame["seed"]) == [42, 42, 7, 42]
    assert list(frame["lora"]) == ["tiny_flex2_simple_v1_000000010.safetensors"] * 4
    assert [pairing.index for pairing in result.pairings] == [0, 1, 2, 3]
    text = " ".join(result.assumptions)
    assert "linear_alpha is 4 at rank 8" in text
    assert "'tiny-flex2' is taken to be the harness's own checkpoint" in text

"""Folders as they are shared, and jobs of older trainers; the trainer's own code judged what is right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.errors import JobError
from harness.importers.aitoolkit import import_job
from harness.importers.draft import ImportResult
from harness.schema.case import Case
from harness.schema.lora_file import inspect_lora
from tests.importers.job_edits import by_stem
from tests.importers.lora_files import rewrite
from tests.importers.shared_jobs import LORA, nan_lora, shared_job, shipped_job


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., ImportResult]:
    """Import a shared job with the LoRA of one version."""

    def make(name: str, version: str = "0.12.26", **options: object) -> ImportResult:
        job = shared_job(name, tmp_path / version, version)
        return import_job(job, out=tmp_path / "cases" / version, **options)  # type: ignore[arg-type]

    return make


def first(result: ImportResult, step: int = 100) -> Case:
    return by_stem(result)[f"{step:09d}_0"]


CAT = "a large cat on a white background"


@pytest.mark.parametrize(
    ("version", "prompt", "said"),
    [
        ("0.3.18", f"inkprint {CAT}", None),
        ("0.4.0", f"[trigger] {CAT}", "ai-toolkit 0.4.0: with cached text embeddings"),
        ("0.9.3", f"[trigger] {CAT}", "ai-toolkit 0.9.3: with cached text embeddings"),
        ("0.10.27", f"[trigger] {CAT}", "[trigger] in sample prompts is not replaced"),
        ("0.10.28", f"inkprint {CAT}", "it is unknown whether [trigger] stayed in the prompt"),
        ("0.10.29", f"inkprint {CAT}", None),
        ("0.12.26", f"inkprint {CAT}", None),
    ],
)
def test_cached_prompts_kept_the_literal_trigger(
    imported: Callable[..., ImportResult], version: str, prompt: str, said: str | None
) -> None:
    case = first(imported("cached_trigger", version))
    assert (case.settings.prompt, case.incomparable) == (prompt, None)
    assert any(said in note for note in case.assumptions) if said else case.assumptions == []


def test_a_version_that_only_the_log_names(tmp_path: Path) -> None:
    job = shared_job("cached_trigger", tmp_path)
    rewrite(LORA, job / LORA.name, metadata={"software": "{}"})
    assert first(import_job(job, out=tmp_path / "cases")).settings.prompt == f"inkprint {CAT}"
    (job / "log.txt").write_text("Running AI Toolkit v0.9.3\n")
    case = first(import_job(job, out=tmp_path / "cases"))
    assert (case.settings.prompt, case.trained.software) == (f"[trigger] {CAT}", "ai-toolkit 0.9.3")
    assert not any("unknown" in note for note in case.assumptions)


def test_a_seed_of_minus_one_inside_a_prompt_is_not_random(imported: Callable[..., ImportResult]) -> None:
    case = first(imported("negative_seed"))
    assert (case.settings.seed, case.incomparable) == (2**64 - 1, None)
    assert any("the seed -1 is not random here" in note for note in case.assumptions)


@pytest.mark.parametrize("spoil", ["nan", "lokr", "pickle", "truncated"])
def test_one_bad_lora_spoils_only_its_step(tmp_path: Path, spoil: str) -> None:
    job = shared_job("nan_lora", tmp_path)
    lora = job / LORA.name
    shutil.copy(lora, job / "emoji_inkprint_000000200.safetensors")
    data = lora.read_bytes()
    if spoil == "nan":
        nan_lora(lora)
    elif spoil == "lokr":
        lora.write_bytes(data.replace(b".lora_A.weight", b".lokr_w1.weigh"))
    else:
        lora.write_bytes(b"\x80\x04junk" if spoil == "pickle" else data[:-1])
    reason = {
        "nan": "NaN or infinite",
        "lokr": "is a LoKr file",
        "pickle": "is a pickle",
        "truncated": "truncated",
    }
    result = import_job(job, out=tmp_path / "cases")
    cases = by_stem(result)
    assert len(cases) == 6
    assert [cases[f"000000000_{index}"].incomparable for index in range(4)] == [None] * 4
    bad = str(cases["000000100_0"].incomparable)
    assert bad.startswith("its LoRA emoji_inkprint_000000100.safetensors ")
    assert reason[spoil] in bad
    assert [error.file for error in result.refused] == [lora] * (spoil in {"pickle", "truncated"})
    assert "says step 100, not 200" in str(cases["000000200_0"].incomparable)


def test_layer_offloading_changed_the_quantizer(imported: Callable[..., ImportResult]) -> None:
    trained = first(imported("layer_offloading")).trained
    assert (trained.qtype, trained.qtype_te) == ("float8", "float8")
    old = first(imported("layer_offloading", "0.6.1"))
    assert (old.trained.qtype, old.assumptions) == ("qfloat8", [])
    unclear = first(imported("layer_offloading", "0.6.4"))
    assert unclear.trained.qtype == "qfloat8"
    assert "it is unknown which quantizer was used" in unclear.assumptions[0]


def test_uint4_is_recorded(imported: Callable[..., ImportResult]) -> None:
    trained = first(imported("uint4")).trained
    assert (trained.quantize, trained.qtype, trained.qtype_te) == (True, "uint4", "uint4")


@pytest.mark.parametrize(
    ("version", "ema"), [("0.7.7", False), ("0.10.4", False), ("0.10.5", True), ("0.12.26", True)]
)
def test_an_average_that_was_never_set_up(
    imported: Callable[..., ImportResult], version: str, ema: bool
) -> None:
    case = first(imported("early_ema", version))
    assert case.trained.ema is ema
    assert any("had no effect" in note for note in case.assumptions) == (not ema)


def test_a_concept_slider_is_a_training_job(imported: Callable[..., ImportResult]) -> None:
    cases = by_stem(imported("concept_slider"))
    multipliers = [case.lora.network_multiplier for case in cases.values() if case.lora]
    assert multipliers == [1.0, -2.0, -5.0]
    assert [cases[f"000000100_{index}"].incomparable for index in range(2)] == [None, None]
    assert "network_multiplier -5.0 is outside" in str(cases["000000100_2"].incomparable)


@pytest.mark.parametrize(
    "kind",
    ["textual_inversion_trainer", "concept_replacer", "ultimate_slider_trainer", "slider", "rescale_sd"],
)
def test_other_process_types_that_save_and_sample_alike(tmp_path: Path, kind: str) -> None:
    job = shared_job("concept_slider", tmp_path)
    text = (job / "config.yaml").read_text()
    (job / "config.yaml").write_text(text.replace("type: concept_slider", f"type: {kind}"))
    assert first(import_job(job, out=tmp_path / "cases")).incomparable is None


def test_a_hub_folder_imports_as_its_job(tmp_path: Path) -> None:
    hub = shared_job("hub_repo", tmp_path / "hub")
    shutil.copy(LORA.with_name("emoji_inkprint.safetensors"), hub)
    cases = by_stem(import_job(hub, out=tmp_path / "a"))
    data = json.loads((hub / ".job_config.json").read_text())
    (hub / "config.yaml").write_text(yaml.safe_dump(data))
    (hub / ".job_config.json").unlink()
    again = by_stem(import_job(hub, out=tmp_path / "b"))
    assert [case.model_dump() for case in again.values()] == [case.model_dump() for case in cases.values()]
    assert [case.incomparable for case in cases.values()] == [None, None]
    assert cases["000000300_1"].settings.prompt == "inkprint a large penguin on a yellow background"


def test_a_config_beside_the_folder(tmp_path: Path) -> None:
    hub = shared_job("hub_repo", tmp_path / "hub")
    (hub / ".job_config.json").rename(tmp_path / "mine.json")
    with pytest.raises(JobError, match=r"holds neither config\.yaml nor .*--config FILE"):
        import_job(hub, out=tmp_path / "cases")
    result = import_job(hub, out=tmp_path / "cases", config=tmp_path / "mine.json")
    assert "the checkpoint of step 300 is missing" in str(first(result, 300).incomparable)
    shutil.copy(LORA.with_name("emoji_inkprint.safetensors"), hub)
    result = import_job(hub, out=tmp_path / "cases", config=tmp_path / "mine.json")
    assert first(result, 300).incomparable is None


def test_a_sample_folder_alone(tmp_path: Path) -> None:
    job = shipped_job(tmp_path)
    (job / "samples").rename(tmp_path / "pictures")
    with pytest.raises(JobError, match="pictures: holds neither"):
        import_job(tmp_path / "pictures", out=tmp_path / "cases")
    result = import_job(tmp_path / "pictures", out=tmp_path / "cases", config=job / "config.yaml")
    cases = by_stem(result)
    assert len(cases) == 16
    assert [case.incomparable for case in cases.values() if case.preview.step == 0] == [None] * 4
    trained = [str(case.incomparable) for case in cases.values() if case.preview.step]
    assert all("no LoRA lies beside the previews" in said for said in trained)


def test_the_folders_in_and_around_a_job_lead_to_it(tmp_path: Path) -> None:
    job = shipped_job(tmp_path)
    with pytest.raises(JobError, match=f"give the job folder {job}"):
        import_job(job / "samples", out=tmp_path / "cases")
    with pytest.raises(JobError, match=f"give one of the job folders in it, such as {job}"):
        import_job(tmp_path, out=tmp_path / "cases")


def test_name_in_a_config_that_the_user_wrote(tmp_path: Path) -> None:
    hub = shared_job("hub_repo", tmp_path)
    text = (hub / ".job_config.json").read_text().replace("[trigger] a large cat", "[name] a large cat")
    (tmp_path / "mine.yaml").write_text(text)
    case = first(import_job(hub, out=tmp_path / "cases", config=tmp_path / "mine.yaml"), 300)
    assert case.settings.prompt == "emoji_inkprint a large cat on a white background"


def adapter(**changes: object) -> dict[str, str]:
    modules = list(inspect_lora(LORA).modules)
    config = {"r": 8, "lora_alpha": 4, "target_modules": modules, **changes}
    return {
        "lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in config.items()})
    }


def test_a_header_that_scales_the_lora_is_named(tmp_path: Path) -> None:
    case = first(import_job(shipped_job(tmp_path, metadata=adapter()), out=tmp_path / "cases"), 300)
    assert case.incomparable is None
    assert any("scales it by 0.5, which diffusers applies" in note for note in case.assumptions)
    even = shipped_job(tmp_path / "even", metadata=adapter(lora_alpha=8))
    assert first(import_job(even, out=tmp_path / "b"), 300).assumptions == []


@pytest.mark.parametrize(
    ("metadata", "extra", "said"),
    [
        ({"lora_adapter_metadata": "{}"}, {}, "names no transformer.target_modules"),
        ({}, {"x.lora_magnitude_vector": np.ones(8, np.float16)}, "is a DoRA file"),
        ({}, {"x.lora_B.bias": np.ones(8, np.float16)}, "holds biases"),
        (
            {},
            {"transformer_blocks.0.norm1.norm.diff": np.ones(8, np.float16)},
            "that diffusers does not apply",
        ),
    ],
)
def test_loras_that_are_more_than_a_lora(
    tmp_path: Path, metadata: dict[str, str], extra: dict[str, np.ndarray], said: str
) -> None:
    job = shipped_job(tmp_path, metadata=metadata, **extra)
    result = import_job(job, out=tmp_path / "cases")
    cases = by_stem(result)
    assert said in str(cases["000000300_0"].incomparable)
    by_the_trainer = any(key.endswith(".diff") for key in extra)
    assert [error.found[:9] in said for error in result.refused] == [True] * (not by_the_trainer)
    assert [name for name, case in cases.items() if case.incomparable] == [f"000000300_{i}" for i in range(4)]

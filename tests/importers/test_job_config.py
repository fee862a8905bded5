"""What an import reads from a job's config, and what it says where the config is odd."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import JobError
from harness.importers.aitoolkit import import_job
from tests.importers.job_edits import Edit, by_stem


def test_config_changed_after_its_previews(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["sample"].update(prompts=["only one --w 256"]))
    cases = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))
    assert "the image is 128x128, but config.yaml gives 256x128" in str(cases["000000010_0"].incomparable)
    assert "lists 1 prompts, and this is number 3" in str(cases["000000010_3"].incomparable)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (1795423000, None),
        (1795423130, "5 of 16 previews (the job was resumed)"),
        (1795500000, "every preview"),
    ],
)
def test_config_younger_than_previews(job: Path, tmp_path: Path, moment: int, said: str | None) -> None:
    os.utime(job / "config.yaml", (moment, moment))
    lines = [line for line in import_job(job, out=tmp_path / "c").assumptions if "is dated" in line]
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adapter": {"type": "ip"}}, "the job uses adapter"),
        ({"embedding": {"trigger": "x"}}, "the job uses embedding"),
        ({"decorator": {"num_tokens": 4}}, "the job uses decorator"),
    ],
)
def test_parts_that_the_reference_lacks(
    job: Path, edit: Edit, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    edit(lambda process: process.update(change))
    cases = import_job(job, out=tmp_path / "cases").cases
    assert all(said in str(case.incomparable) for case in cases)


def test_a_job_without_a_network_trained_no_lora(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process.pop("network"))
    cases = by_stem(import_job(job, out=tmp_path / "cases"))
    assert cases["000000000_0"].incomparable is None
    assert "it trained the transformer itself" in str(cases["000000010_0"].incomparable)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompts": [None, "a", "b"], "width": 128.0, "height": 131.5}, None),
        ({"samples": [{"prompt": "a", "width": 128.9}, {"prompt": "b"}], "width": 128, "height": 128}, None),
        ({"samples": [{"prompt": "a", "sample_steps": 25.0}]}, r"samples\[0\]\.sample_steps: .*found 25\.0"),
        ({"width": float("inf")}, r"sample\.width: .*found inf"),
    ],
)
def test_values_that_the_trainer_takes_and_those_that_it_fails_on(
    job: Path, edit: Edit, tmp_path: Path, fields: dict[str, Any], said: str | None
) -> None:
    edit(lambda process: process.update(sample=fields))
    if said is not None:
        with pytest.raises(JobError, match=said):
            import_job(job, out=tmp_path / "cases", steps="10")
        return
    cases = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))
    found = [cases[f"000000010_{index}"] for index in (0, 1)]
    assert [case.settings.prompt for case in found] == ["a", "b"]
    assert [(case.settings.width, case.settings.height) for case in found] == [(128, 128)] * 2
    assert [case.incomparable for case in found] == [None, None]


def test_a_lora_that_was_merged_into_the_transformer(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["train"].update(merge_network_on_save=True))
    for path in job.glob("*.safetensors"):
        path.unlink()
    cases = by_stem(import_job(job, out=tmp_path / "cases"))
    assert cases["000000000_0"].incomparable is None
    assert "merge_network_on_save saved the LoRA inside" in str(cases["000000010_0"].incomparable)


def test_the_text_encoder_is_quantized_as_the_transformer(job: Path, edit: Edit, tmp_path: Path) -> None:
    types = {"quantize": True, "quantize_te": True, "qtype": "uint4", "qtype_te": "qfloat8"}
    edit(lambda process: process["model"].update(types))
    result = import_job(job, out=tmp_path / "cases", steps="10")
    assert (result.cases[0].trained.qtype, result.cases[0].trained.qtype_te) == ("uint4", "uint4")
    assert any(line.startswith("model.qtype_te had no effect") for line in result.assumptions)


@pytest.mark.parametrize(
    ("device", "qtype", "became", "said"),
    [
        ("cuda", "convrotint5", "convrotint5", ""),
        ("cuda:1", "convrot4", "convrot4", "rounds activations on Blackwell GPUs and later"),
        ("cpu", "convrot4", "convrot4_a16", "on device cpu AI Toolkit does not round activations"),
        ("mps", "qfloat8", "convrot8_a16", "Apple silicon has a product of its own"),
    ],
)
def test_a_device_decides_whether_activations_are_rounded(
    job: Path, edit: Edit, tmp_path: Path, device: str, qtype: str, became: str, said: str
) -> None:
    edit(lambda process: process.update(device=device))
    edit(lambda process: process["model"].update(quantize=True, quantize_te=True, qtype=qtype))
    result = import_job(job, out=tmp_path / "cases", steps="10")
    assert (result.cases[0].trained.qtype, result.cases[0].trained.qtype_te) == (became, became)
    spoken = [note for note in result.cases[0].assumptions if "convrot" in note or "activations" in note]
    assert any(said in note for note in spoken) if said else not spoken


@pytest.mark.parametrize("field", ["vae_path", "te_name_or_path", "lora_path"])
def test_model_fields_that_the_trainer_ignores(job: Path, edit: Edit, tmp_path: Path, field: str) -> None:
    edit(lambda process: process["model"].update({field: "other"}))
    result = import_job(job, out=tmp_path / "cases", steps="10")
    assert [case.incomparable for case in result.cases] == [None] * 4
    assert any(line.startswith(f"model.{field} had no effect") for line in result.assumptions)


def test_only_the_first_process_counts(job: Path, tmp_path: Path) -> None:
    alone = import_job(job, out=tmp_path / "alone").cases
    config = yaml.safe_load((job / "config.yaml").read_text())
    config["config"]["process"].append({"type": "extract"})
    (job / "config.yaml").write_text(yaml.safe_dump(config))
    both = import_job(job, out=tmp_path / "both").cases
    assert [case.settings for case in both] == [case.settings for case in alone]


@pytest.mark.parametrize("section", ["sample", "save", "train", "trigger_word", "network"])
def test_empty_section_is_an_absent_one(job: Path, edit: Edit, tmp_path: Path, section: str) -> None:
    edit(lambda process: process.update({"first_sample": {"prompts": ["a"]}, section: None}))
    empty = import_job(job, out=tmp_path / "empty").cases
    edit(lambda process: process.pop(section))
    absent = import_job(job, out=tmp_path / "absent").cases
    assert [case.model_dump() for case in empty] == [case.model_dump() for case in absent]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"rank": 16, "linear": 8, "linear_alpha": 16}, None),
        ({"rank": 16, "linear": 8, "linear_alpha": 8}, "8 at rank 16"),
        ({"linear": 8, "alpha": 8}, None),
        ({"linear": 8}, "1 at rank 8"),
        ({"linear_alpha": 4}, None),
        ({}, "1 at rank 4"),
    ],
)
def test_alpha_and_rank_as_the_trainer_reads_them(
    job: Path, edit: Edit, tmp_path: Path, network: dict[str, Any], said: str | None
) -> None:
    edit(lambda process: process.update(network=network))
    lines = import_job(job, out=tmp_path / "cases", steps="10").assumptions
    found = [line for line in lines if line.startswith("network.linear_alpha is")]
    assert len(found) == (said is not None)
    assert said is None or found[0].startswith(f"network.linear_alpha is {said}")


def test_pretrained_lora_makes_step_0_another_thing(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["network"].update(pretrained_lora_path="other.safetensors"))
    cases = by_stem(import_job(job, out=tmp_path / "cases"))
    assert "pretrained_lora_path" in str(cases["000000000_0"].incomparable)
    assert cases["000000010_0"].incomparable is None


def test_ema_is_recorded(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["train"]["ema_config"].update(use_ema=True))
    assert all(case.trained.ema for case in import_job(job, out=tmp_path / "cases").cases)


def test_web_ui_form_with_an_ordered_dict(job: Path, tmp_path: Path) -> None:
    text = (job / "config.yaml").read_text()
    tag = "!!python/object/apply:collections.OrderedDict"
    tagged = text.replace("    model:\n", f"    model: {tag}\n    - - - arch\n")
    tagged = tagged.replace(
        "      name_or_path: tiny-flex2\n      arch: flex2\n"
        "      quantize: false\n      quantize_te: false\n",
        "        - flex2\n      - - name_or_path\n        - tiny-flex2\n",
    )
    assert tagged.count("OrderedDict") == 1
    (job / "config.yaml").write_text(tagged)
    assert len(import_job(job, out=tmp_path / "cases").cases) == 16

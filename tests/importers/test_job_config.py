"""What an import reads from a job's config, and what it says where the config is odd."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import JobError
from harness.importers.aitoolkit import import_job
from harness.importers.aitoolkit.model_config import ModelConfig
from harness.judging.findings import static_findings
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
        ("cpu", "convrotint8", "convrot8_a16", "on device cpu AI Toolkit does not round activations"),
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


@pytest.mark.parametrize(
    ("model", "became"),
    [
        ({"qtype": "uint4|owner/repo/adapter.safetensors"}, "uint4"),
        ({"qtype": "qfloat8", "layer_offloading": True}, "float8"),
        ({"qtype": "qfloat8|owner/repo/adapter.safetensors", "layer_offloading": True}, "qfloat8"),
        ({"qtype": "qfloat8_e4m3fn", "layer_offloading": True}, "qfloat8"),
        ({"qtype": "qfloat8_e5m2"}, "qfloat8_e5m2"),
        ({"qtype": "orbit4"}, "orbit4"),
        ({"qtype": "qfloat8_e4m3fnuz"}, "qfloat8_e4m3fnuz"),
        ({"qtype": "qfloat8", "auto_memory": True}, "float8"),
        ({"qtype": "qfloat8", "auto_memory": True, "layer_offloading": False}, "qfloat8"),
    ],
)
def test_a_qtype_is_what_the_trainer_made_of_it(
    job: Path, edit: Edit, tmp_path: Path, model: dict[str, Any], became: str
) -> None:
    edit(lambda process: process["model"].update(quantize=True, quantize_te=True, **model))
    trained = import_job(job, out=tmp_path / "cases", steps="10").cases[0].trained
    assert (trained.qtype, trained.qtype_te) == (became, became)


@pytest.mark.parametrize(
    ("qtype", "said"),
    [
        ("orbitvq2", "quantizer 'orbitvq2' (rotated at random, then a lattice of 2 bits a weight) is not"),
        ("qfloat9", "quantizer 'qfloat9' (none that AI Toolkit 0.12.26 knows) is not supported: re-runs are"),
    ],
)
def test_a_quantizer_that_nothing_computes_is_named(
    job: Path, edit: Edit, tmp_path: Path, qtype: str, said: str
) -> None:
    edit(lambda process: process["model"].update(quantize=True, quantize_te=False, qtype=qtype))
    (case, *_) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert case.trained.qtype == qtype
    assert sum(note.startswith(said) for note in case.assumptions) == 1


@pytest.mark.parametrize("qtype", [None, "", " ", "|owner/repo/adapter.safetensors"])
def test_a_qtype_that_names_nothing_is_not_the_default(
    job: Path, edit: Edit, tmp_path: Path, qtype: str | None
) -> None:
    edit(lambda process: process["model"].update(quantize=True, quantize_te=True, qtype=qtype))
    (case, *_) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert (case.trained.qtype, case.trained.qtype_te) == ("unknown", "unknown")
    said = "model.qtype names nothing, and AI Toolkit renders no preview so: the previews are of an earlier"
    assert sum(note.startswith(said) for note in case.assumptions) == 1
    assert not [note for note in case.assumptions if "plain unknown" in note]
    found = {finding.id: finding.message for finding in static_findings(case)}
    assert "transformer and T5 (unknown)" in found["quantized"]
    assert "qfloat8" not in found["quantized"]


@pytest.mark.parametrize(
    ("model", "quantized"),
    [
        ({"quantize": None}, (False, False)),
        ({"quantize": True}, (True, True)),
        ({"quantize": True, "quantize_te": None}, (True, False)),
        ({"quantize": None, "quantize_te": True}, (False, True)),
    ],
)
def test_null_quantizes_nothing(
    job: Path, edit: Edit, tmp_path: Path, model: dict[str, Any], quantized: tuple[bool, bool]
) -> None:
    def change(process: dict[str, Any]) -> None:
        kept = {name: process["model"][name] for name in ("name_or_path", "arch")}
        process["model"] = {**kept, **model}

    edit(change)
    trained = import_job(job, out=tmp_path / "cases", steps="10").cases[0].trained
    assert (trained.quantize, trained.quantize_te) == quantized
    assert (trained.qtype, trained.qtype_te) == tuple("qfloat8" if on else None for on in quantized)


def test_the_old_name_of_offloading_counts_where_the_new_one_was_not_read(tmp_path: Path) -> None:
    model = {"name_or_path": "base", "arch": "flex2", "auto_memory": True, "layer_offloading": False}
    config = ModelConfig.model_validate(model)
    assert config.quantizer("ai-toolkit 0.6.3", "cuda")[0] == "float8"
    assert config.quantizer("ai-toolkit 0.6.5", "cuda")[0] == "qfloat8"


@pytest.mark.parametrize(
    ("kwargs", "quantize", "wanted", "said"),
    [
        ({"exclude": ["*time_text_embed*"]}, True, ["*time_text_embed*"], "left out *time_text_embed*"),
        ({"exclude": "*attn*", "include": None}, True, ["*attn*"], "left out *attn*"),
        ({"exclude": ["*attn*"]}, False, [], None),
        ({"exclude": None}, True, [], None),
        (None, True, [], None),
        ({"include": ["*attn*"]}, True, ["!*attn*"], "include quantized *attn* alone"),
        ({"include": "*attn*"}, False, [], None),
        ({"include": []}, True, ["*"], "include quantized nothing alone"),
        ({"activations": "qint8"}, True, [], "quantize_kwargs.activations is not followed"),
    ],
)
def test_layers_that_were_not_quantized(
    job: Path, edit: Edit, tmp_path: Path, kwargs: Any, quantize: bool, wanted: list[str], said: str | None
) -> None:
    edit(lambda process: process["model"].update(quantize=quantize, quantize_te=True, quantize_kwargs=kwargs))
    (case, *_) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert case.quantize_exclude == wanted
    notes = [note for note in case.assumptions if "quantize_kwargs" in note]
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


def test_offloading_alone_keeps_the_lora_beside_the_weights(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["model"].update(quantize=False, layer_offloading=True))
    (case, *_) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert any("lora_mode adapter" in note for note in case.assumptions)


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


@pytest.mark.parametrize("prompt", ["7e2 stars", "-3e1x", "0e81f1cd", "1.5e3.2"])
def test_text_that_begins_like_a_number_is_text(job: Path, tmp_path: Path, prompt: str) -> None:
    """Only a whole value is a number: such a prompt, name or hash made the whole config no valid YAML."""
    config = job / "config.yaml"
    config.write_text(config.read_text().replace("prompts:\n", f"prompts:\n      - {prompt}\n", 1))
    assert import_job(job, out=tmp_path / "cases", steps="10").cases[0].settings.prompt == prompt

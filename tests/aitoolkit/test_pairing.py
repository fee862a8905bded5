"""Which preview goes with which weights, and how the case files get to disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.aitoolkit import import_job
from harness.aitoolkit.folder import find_previews
from harness.case import Base, Case
from harness.errors import JobError
from harness.importing import ImportResult, safe_name

Edit = Callable[[Callable[[dict[str, Any]], object]], None]


def add_preview(job: Path, name: str, size: tuple[int, int] = (128, 128), **options: Any) -> Path:
    path = job / "samples" / name
    Image.new("RGB", size, (9, 99, 199)).save(path, **options)
    return path


def drop_step(job: Path, step: int) -> None:
    for path in (job / "samples").glob(f"*__{step:09d}_*"):
        path.unlink()


def by_stem(result: ImportResult) -> dict[str, Case]:
    return {case.id.split("/")[1]: case for case in result.cases}


def test_indices_sort_as_numbers(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["sample"].update(prompts=[f"prompt {i}" for i in range(12)]))
    drop_step(job, 0)
    for index in range(12):
        add_preview(job, f"{1795423055931 + index}__000000000_{index}.png")
    result = import_job(job, out=tmp_path / "cases", steps="0")
    assert [case.settings.prompt for case in result.cases] == [f"prompt {i}" for i in range(12)]


@pytest.mark.parametrize("extension", ["jpg", "png", "webp"])
def test_formats(job: Path, tmp_path: Path, extension: str) -> None:
    drop_step(job, 10)
    add_preview(job, f"1795423125136__000000010_0.{extension}")
    (case,) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert case.incomparable is None
    assert case.preview.file.endswith(extension)


def test_thumbs_temporary_and_foreign_files_are_left_alone(job: Path) -> None:
    before = len(find_previews(job))
    shutil.copytree(job / "samples" / ".thumbs", job / "samples" / ".tmp")
    (job / "samples" / "1795423125136__000000010_0.txt").write_text("a prompt")
    (job / "samples" / "notes.jpg").write_bytes(b"")
    for name in ("optimizer.pt", "log.txt", "pid.txt", ".job_config.json"):
        (job / name).write_bytes(b"\x80not for us")
    assert len(find_previews(job)) == before == 16


def test_animated_preview_is_a_video(job: Path, tmp_path: Path) -> None:
    drop_step(job, 10)
    frames = [Image.new("RGB", (128, 128), (shade, 0, 0)) for shade in (0, 90, 180)]
    frames[0].save(
        job / "samples" / "1795423125136__000000010_0.webp",
        save_all=True,
        append_images=frames[1:],
        duration=60,
    )
    (case,) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert (case.preview.width, case.preview.height) == (128, 128)
    assert "video" in str(case.incomparable)


def test_missing_checkpoint_says_which_rule(job: Path, edit: Edit, tmp_path: Path) -> None:
    (job / "tiny_flex2_simple_v1_000000010.safetensors").unlink()
    pruned = by_stem(import_job(job, out=tmp_path / "a", steps="10"))["000000010_0"]
    assert "pruned" in str(pruned.incomparable)
    assert pruned.lora is None
    assert pruned.settings.prompt == "portrait photo of tr1gg3r, black hat, studio light"
    edit(lambda process: process["save"].update(save_every=15))
    never = by_stem(import_job(job, out=tmp_path / "b", steps="10"))["000000010_0"]
    assert "no checkpoint was saved at step 10 (save_every is 15)" in str(never.incomparable)


def test_final_file_of_a_resumed_job_goes_with_the_step_it_holds(
    job: Path, edit: Edit, tmp_path: Path
) -> None:
    """The job was resumed with steps: 60 and stopped: its final file is still that of step 30."""
    edit(lambda process: process["train"].update(steps=60))
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="30"))["000000030_0"]
    assert case.lora is not None
    assert case.lora.file == "loras/tiny_flex2_simple_v1.safetensors"


def test_overwritten_final_file_leaves_its_previews_without_weights(
    job: Path, edit: Edit, tmp_path: Path
) -> None:
    """The resumed job ended at 20 steps more: step 30 has neither a numbered file nor the final one."""
    edit(lambda process: process["train"].update(steps=20))
    shutil.copy(job / "tiny_flex2_simple_v1_000000020.safetensors", job / "tiny_flex2_simple_v1.safetensors")
    cases = by_stem(import_job(job, out=tmp_path / "cases"))
    assert "step 30 is missing" in str(cases["000000030_0"].incomparable)
    assert "before the job was resumed" not in str(cases["000000030_0"].incomparable)
    assert cases["000000020_0"].lora is not None
    assert cases["000000020_0"].lora.file == "loras/tiny_flex2_simple_v1_000000020.safetensors"


def test_checkpoint_that_may_have_been_the_final_file(job: Path, tmp_path: Path) -> None:
    """Step 10 was the end of a first run, whose final file the resumed run to step 30 overwrote."""
    (job / "tiny_flex2_simple_v1_000000010.safetensors").unlink()
    case = import_job(job, out=tmp_path / "cases", steps="10").cases[0]
    assert str(case.incomparable).endswith(", or it was the final file before the job was resumed")


def test_renamed_checkpoint_is_noticed(job: Path, tmp_path: Path) -> None:
    shutil.copy(job / "tiny_flex2_simple_v1.safetensors", job / "tiny_flex2_simple_v1_000000010.safetensors")
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))["000000010_0"]
    assert "says step 30, not 10" in str(case.incomparable)


def test_step_rendered_twice(job: Path, edit: Edit, tmp_path: Path) -> None:
    for index in range(4):
        source = next((job / "samples").glob(f"*__000000010_{index}.jpg"))
        shutil.copy(source, job / "samples" / f"{1795423000000 + index}__000000010_{index}.jpg")
    cases = by_stem(import_job(job, out=tmp_path / "a", steps="10"))
    assert len(cases) == 8
    assert cases["000000010_0"].incomparable is None
    assert "again later" in str(cases["000000010_0_1795423000000"].incomparable)
    edit(lambda process: process["train"].update(force_first_sample=True))
    cases = by_stem(import_job(job, out=tmp_path / "b", steps="10"))
    assert cases["000000010_0_1795423000000"].incomparable is None


def test_first_sample_precedes_the_regular_ones(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(
        lambda process: process.update(
            first_sample={"prompts": ["first"], "seed": 8, "width": 64, "height": 64}
        )
    )
    add_preview(job, "1795423000000__000000000_0.jpg", (64, 64))
    cases = by_stem(import_job(job, out=tmp_path / "a", steps="0"))
    first = cases["000000000_0_1795423000000"]
    assert (first.settings.prompt, first.settings.seed, first.incomparable) == ("first", 8, None)
    assert cases["000000000_0"].settings.prompt.startswith("portrait")
    assert cases["000000000_0"].incomparable is None


@pytest.mark.parametrize(
    "change",
    [
        lambda process: process["train"].update(unload_text_encoder=True),
        lambda process: process["train"].update(cache_text_embeddings=True),
        lambda process: process["datasets"][0].update(cache_text_embeddings=True),
    ],
)
def test_cached_text_embeddings_are_those_of_sample(
    job: Path, edit: Edit, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(lambda process: process.update(first_sample={"prompts": ["first"], "seed": 8, "width": 64}))
    edit(change)
    add_preview(job, "1795423000000__000000000_0.jpg", (64, 512))
    first = by_stem(import_job(job, out=tmp_path / "a", steps="0"))["000000000_0_1795423000000"]
    assert (first.settings.seed, first.settings.width, first.incomparable) == (8, 64, None)
    assert first.settings.prompt == "portrait photo of tr1gg3r, black hat, studio light"
    assert any("with the prompts of sample" in line for line in first.assumptions)


def test_skipped_first_sample_leaves_only_first_sample(job: Path, edit: Edit, tmp_path: Path) -> None:
    def change(process: dict[str, Any]) -> None:
        process["first_sample"] = {"prompts": ["first"], "width": 64, "height": 64}
        process["train"]["skip_first_sample"] = True

    edit(change)
    drop_step(job, 0)
    add_preview(job, "1795423000000__000000000_0.jpg", (64, 64))
    (case,) = import_job(job, out=tmp_path / "cases", steps="0").cases
    assert (case.settings.prompt, case.incomparable) == ("first", None)


def test_config_changed_after_its_previews(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["sample"].update(prompts=["only one --w 256"]))
    cases = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))
    assert "the image is 128x128, but config.yaml gives 256x128" in str(cases["000000010_0"].incomparable)
    assert "lists 1 prompts and this is number 3" in str(cases["000000010_3"].incomparable)


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


def test_loras_of_another_name_are_pointed_at(job: Path, tmp_path: Path) -> None:
    for path in job.glob("*.safetensors"):
        path.rename(job / path.name.replace("tiny_flex2", "renamed"))
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))["000000010_0"]
    assert "renamed_simple_v1.safetensors is another's" in str(case.incomparable)


def test_the_text_encoder_is_quantized_as_the_transformer(job: Path, edit: Edit, tmp_path: Path) -> None:
    types = {"quantize": True, "quantize_te": True, "qtype": "uint4", "qtype_te": "qfloat8"}
    edit(lambda process: process["model"].update(types))
    result = import_job(job, out=tmp_path / "cases", steps="10")
    assert (result.cases[0].trained.qtype, result.cases[0].trained.qtype_te) == ("uint4", "uint4")
    assert any(line.startswith("model.qtype_te is set") for line in result.assumptions)


@pytest.mark.parametrize("field", ["vae_path", "te_name_or_path", "lora_path"])
def test_model_fields_that_the_trainer_ignores(job: Path, edit: Edit, tmp_path: Path, field: str) -> None:
    edit(lambda process: process["model"].update({field: "other"}))
    result = import_job(job, out=tmp_path / "cases", steps="10")
    assert [case.incomparable for case in result.cases] == [None] * 4
    assert any(line.startswith(f"model.{field} is set") for line in result.assumptions)


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


def test_selecting_steps(job: Path, tmp_path: Path) -> None:
    def steps(which: str) -> set[int | None]:
        return {case.preview.step for case in import_job(job, out=tmp_path / "cases", steps=which).cases}

    assert steps("all") == {0, 10, 20, 30}
    assert steps("last") == {30}
    assert steps("10, 30") == {10, 30}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ostris/Flex.2-preview", Base(repo="ostris/Flex.2-preview")),
        ("tiny-flex2", Base(embedded="tiny-flex2")),
    ],
)
def test_base_from_the_config(job: Path, edit: Edit, tmp_path: Path, name: str, expected: Base) -> None:
    edit(lambda process: process["model"].update(name_or_path=name))
    assert import_job(job, out=tmp_path / "cases").cases[0].base == expected


def test_base_that_is_a_folder_or_given(job: Path, edit: Edit, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    edit(lambda process: process["model"].update(name_or_path=str(tmp_path / "weights")))
    assert import_job(job, out=tmp_path / "a").cases[0].base == Base(path=str(tmp_path / "weights"))
    given = Base(repo="me/mine", revision="abc")
    assert import_job(job, out=tmp_path / "b", base=given).cases[0].base == given


def test_schema_is_named_where_there_is_one(job: Path, tmp_path: Path) -> None:
    (tmp_path / "case.schema.json").write_text("{}")
    case = import_job(job, out=tmp_path / "cases", steps="10").cases[0]
    first = (case.folder / "000000010_0.case.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../case.schema.json"


def test_folder_of_another_job_is_refused(job: Path, genuine: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "cases"
    import_job(genuine("legacy_jpg_q8"), out=out)
    before = sorted(path.name for path in out.rglob("*"))
    with pytest.raises(JobError, match="cases of another job, 'legacy_jpg_q8'"):
        import_job(job, out=out)
    assert sorted(path.name for path in out.rglob("*")) == before


def test_folder_with_other_things_is_refused(job: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is not empty and holds no cases"):
        import_job(job, out=job)
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="is a file"):
        import_job(job, out=tmp_path / "file")
    with pytest.raises(JobError, match="cannot be written"):
        import_job(job, out=tmp_path / "file" / "cases")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("my lora", "my lora"), ("a/b:c", "a_b_c"), ("-x", "_-x"), ("..", "_.."), ("", "_"), ("größe", "größe")],
)
def test_job_names_become_case_ids(name: str, expected: str) -> None:
    assert safe_name(name) == expected

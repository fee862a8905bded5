"""Which preview goes with which sample and which weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pytest
from PIL import Image

from harness.errors import ImageError, JobError
from harness.importers.aitoolkit import import_job
from harness.importers.aitoolkit.job_folder import find_previews
from tests.importers.job_edits import Edit, add_preview, by_stem, drop_step
from tests.importers.lora_files import rewrite


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


@pytest.mark.parametrize(("image_format", "kept"), [("jpg", "jpg"), ("png", "png"), ("webp", "jpg")])
def test_a_copy_in_another_format_is_no_second_run(job: Path, image_format: str, kept: str) -> None:
    preview = job / "samples" / "1795423125136__000000010_0.jpg"
    Image.open(preview).save(preview.with_suffix(".png"))
    previews = find_previews(job, image_format)
    assert len(previews) == 16
    assert not any(file.runs_later for file in previews)
    (found,) = (file for file in previews if file.copies)
    assert found.path == preview.with_suffix(f".{kept}")


def test_a_copy_that_cannot_be_read_is_no_preview(job: Path) -> None:
    preview = job / "samples" / "1795423125136__000000010_0.jpg"
    Image.open(preview).save(preview.with_suffix(".bmp"))
    (found,) = (file for file in find_previews(job, "bmp") if file.copies)
    assert (found.path, found.copies) == (preview, (preview.with_suffix(".bmp").name,))


@pytest.mark.parametrize("suffix", ["JPG", "Jpeg", "PNG", "WEBP"])
def test_a_suffix_may_have_capitals(job: Path, tmp_path: Path, suffix: str) -> None:
    drop_step(job, 10)
    add_preview(job, f"1795423125136__000000010_0.{suffix}")
    (case,) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert case.incomparable is None


@pytest.mark.parametrize(
    ("suffix", "kind"), [("avif", "AVIF"), ("bmp", "BMP"), ("gif", "GIF"), ("tiff", "TIFF"), ("TIF", "TIFF")]
)
def test_previews_in_formats_that_are_not_read_are_counted(
    job: Path, tmp_path: Path, suffix: str, kind: str
) -> None:
    for preview in (job / "samples").glob("*__000000010_*"):
        Image.open(preview).save(preview.with_suffix(f".{suffix}"))
        preview.unlink()
    found = import_job(job, out=tmp_path / "cases")
    (refused,) = found.refused
    article = "an" if kind == "AVIF" else "a"
    said = f"each of 4 previews is {article} {kind} image: 1795423125136__000000010_0.{suffix}"
    assert f"samples: {said}" in str(refused)
    assert str(refused).endswith(" and 1 more; give a jpg, png or webp file")
    assert len(found.cases) == 12
    assert [line for line in found.assumptions if line.startswith(f"left out: {said}")]
    for preview in (job / "samples").glob("*.jpg"):
        preview.unlink()
    with pytest.raises(ImageError, match=said):
        import_job(job, out=tmp_path / "none")


def test_images_of_other_names_and_in_subfolders_are_named(job: Path, tmp_path: Path) -> None:
    samples = job / "samples"
    names = ("cat.jpg", "1795423125136__10_0.png", "1795423125136__000000010_0 (1).jpg", "best.avif")
    for name in names:
        add_preview(job, name)
    (samples / "old").mkdir()
    for name in ("a.PNG", "1795423125136__000000010_0.jpg", "a.txt"):
        (samples / "old" / name).touch()
    (samples / "empty").mkdir()
    notes = [line for line in import_job(job, out=tmp_path / "cases").assumptions if "left out" in line]
    like = "previews are files of samples with names like 1731980000000__000000250_3.jpg"
    assert notes == [
        "left out: 4 images of another name: 1795423125136__000000010_0 (1).jpg, 1795423125136__10_0.png, "
        f"best.avif and 1 more; {like}",
        f"left out: 2 images in the subfolder old; {like}",
    ]
    for preview in find_previews(job):
        preview.path.unlink()
    with pytest.raises(JobError, match=r"holds no previews; 4 images of another name: .*; 2 images in"):
        find_previews(job)


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
    assert case.preview.size == (128, 128)
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
    assert case.lora is not None  # a diagnosis goes on with it


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


def test_swapped_checkpoints_are_told_apart_by_their_metadata(job: Path, tmp_path: Path) -> None:
    one, other = (job / f"tiny_flex2_simple_v1_0000000{step}.safetensors" for step in (10, 20))
    kept = one.rename(job / "kept")
    other.rename(one)
    kept.rename(other)
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))["000000010_0"]
    assert case.incomparable is None
    assert case.lora is not None
    assert case.lora.file == f"loras/{other.name}"


def test_renamed_loras_are_known_by_their_metadata(job: Path, tmp_path: Path) -> None:
    for path in job.glob("*.safetensors"):
        path.rename(job / path.name.replace("tiny_flex2", "renamed"))
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))["000000010_0"]
    assert case.lora is not None
    assert (case.lora.file, case.incomparable) == ("loras/renamed_simple_v1_000000010.safetensors", None)


def test_loras_of_another_job_are_pointed_at(job: Path, tmp_path: Path) -> None:
    for path in job.glob("*.safetensors"):
        rewrite(path, job / f"other_{path.name}", metadata={"ss_output_name": "other"})
        path.unlink()
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))["000000010_0"]
    said = (
        "if other_tiny_flex2_simple_v1_000000010.safetensors is its own, name it tiny_flex2_simple_v1_0000000"
    )
    assert said in str(case.incomparable)


def test_a_lora_of_another_job_and_step_is_not_pointed_at(job: Path, tmp_path: Path) -> None:
    for path in job.glob("*.safetensors"):
        rewrite(path, job / f"other_{path.name}", metadata={"ss_output_name": "other"})
        path.unlink()
    (job / "other_tiny_flex2_simple_v1_000000010.safetensors").unlink()
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))["000000010_0"]
    assert "none is of step 10 by its metadata" in str(case.incomparable)


def test_a_lora_of_another_job_under_this_jobs_name_is_said(job: Path, tmp_path: Path) -> None:
    name = "tiny_flex2_simple_v1_000000010.safetensors"
    rewrite(job / name, job / "new", metadata={"ss_output_name": "other"})
    (job / "new").replace(job / name)
    cases = by_stem(import_job(job, out=tmp_path / "cases"))
    assert f"{name} is of job 'other' by its metadata" in " ".join(cases["000000010_0"].assumptions)
    assert "by its metadata" not in " ".join(cases["000000020_0"].assumptions)


@pytest.mark.parametrize(
    ("size", "said"), [((120, 128), "multiples of 16 only"), ((256, 256), "scaled or cut")]
)
def test_a_preview_that_was_scaled_or_cut_is_said(
    size: tuple[int, int], said: str, job: Path, tmp_path: Path
) -> None:
    path = next((job / "samples").glob("*__000000010_0.*"))
    with Image.open(path) as image:
        image.resize(size).save(path)
    case = by_stem(import_job(job, out=tmp_path / "cases", steps="10"))["000000010_0"]
    assert said in str(case.incomparable)


def test_links_that_lead_nowhere_are_named(job: Path, tmp_path: Path) -> None:
    """As a download cache leaves them that was copied without its files."""
    preview = next((job / "samples").glob("*__000000010_0.*"))
    for path in (preview, job / "tiny_flex2_simple_v1_000000010.safetensors"):
        path.unlink()
        path.symlink_to(tmp_path / "nowhere")
    result = import_job(job, out=tmp_path / "cases", steps="10")
    assert len(result.cases) == 3
    assert [Path(str(error.file)).name for error in result.refused] == [
        preview.name,
        "tiny_flex2_simple_v1_000000010.safetensors",
    ]


def test_previews_that_are_refused_for_several_reasons_are_all_named(job: Path, tmp_path: Path) -> None:
    for index, mode in enumerate(("CMYK", "L", "RGB", "RGB")):
        path = next((job / "samples").glob(f"*__000000010_{index}.jpg"))
        Image.open(path).convert(mode).save(path, "JPEG")
        if mode == "RGB":
            path.write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        import_job(job, out=tmp_path / "cases", steps="10")
    said = str(caught.value)
    assert "samples: no preview can be used: 1795423" in said
    for reason in ("has mode CMYK, not RGB", "has mode L, not RGB", "each of 2 previews is empty: "):
        assert reason in said


@pytest.mark.parametrize(("config", "file"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_that_macos_writes_in_two_characters_is_the_same_name(
    job: Path, tmp_path: Path, config: Literal["NFC", "NFD"], file: Literal["NFC", "NFD"]
) -> None:
    path, old, new = job / "config.yaml", job.name, "tiny_fléx2"
    path.write_text(path.read_text().replace(f"name: {old}", f"name: {normalize(config, new)}"))
    for lora in job.glob("*.safetensors"):
        lora.rename(lora.with_name(lora.name.replace(old, normalize(file, new))))
    cases = import_job(job, out=tmp_path / "cases").cases
    assert all(case.incomparable is None for case in cases)
    assert cases[-1].lora is not None


def test_a_size_is_explained_only_where_the_preview_has_it(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["sample"].update(height=112))
    (case, *_) = import_job(job, out=tmp_path / "cases", steps="10").cases
    assert "but config.yaml gives 128x112" in str(case.incomparable)
    assert not [note for note in case.assumptions if "where the preview is" in note]

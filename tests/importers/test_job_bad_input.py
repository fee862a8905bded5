"""Every bad input is one clear line, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, ImageError, JobError
from harness.importers.aitoolkit import import_job

Edit = Callable[[Callable[[dict[str, Any]], object]], None]


def refused(job: Path, tmp_path: Path, kind: type[HarnessError] = JobError, **options: Any) -> str:
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(kind) as error:
        import_job(job, out=tmp_path / "cases", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    line = str(error.value)
    assert "\n" not in line
    assert error.value.exit_code == 2
    return line


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert "none: is not a folder" in refused(tmp_path / "none", tmp_path)


@pytest.mark.parametrize("name", ["config.yaml", "tiny_flex2_simple_v1.safetensors", "samples"])
def test_a_file_of_a_job_in_the_place_of_its_folder(job: Path, tmp_path: Path, name: str) -> None:
    given = job / name
    if given.is_dir():
        given = min(given.glob("*.jpg"))
    assert refused(given, tmp_path).endswith(f"is not a folder; give the job folder {job}")
    (other := tmp_path / "notes.txt").touch()
    assert refused(other, tmp_path).endswith("is not a folder; give the job folder that AI Toolkit wrote")


def test_folder_without_config(job: Path, tmp_path: Path) -> None:
    (job / "config.yaml").unlink()
    (job / "config.yaml").mkdir()
    line = refused(job, tmp_path)
    assert line.startswith(f"{job}: holds neither config.yaml nor .job_config.json; ")
    assert "--config FILE" in line


def test_broken_yaml(job: Path, tmp_path: Path) -> None:
    (job / "config.yaml").write_text("job: extension\nconfig: [1, 2\nname: x\n")
    line = refused(job, tmp_path)
    assert "config.yaml: is not valid YAML" in line
    assert "line 3" in line


def test_not_text(job: Path, tmp_path: Path) -> None:
    (job / "config.yaml").write_bytes(b"\xff\xfe\x00")
    line = refused(job, tmp_path)
    assert "config.yaml: is not valid YAML (not UTF-8 text" in line
    assert line.endswith("; save it as UTF-8)")


@pytest.mark.parametrize(
    "value",
    [
        '!!python/object/apply:os.system ["touch exploded"]',
        "!!python/name:os.system",
        "!!python/object/apply:collections.OrderedDict [1]",
        "!!python/object/apply:collections.OrderedDict [[[a, 1], [[b], 2]]]",
    ],
)
def test_python_tags(job: Path, tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (job / "config.yaml").write_text(f"job: extension\nconfig: {value}\n")
    line = refused(job, tmp_path)
    assert "holds YAML that is not plain data" in line
    assert "line 2" in line


@pytest.mark.parametrize(
    "text", ["", "just text", "config: {}", "config: {process: []}", "config: {process: [1]}"]
)
def test_not_a_job(job: Path, tmp_path: Path, text: str) -> None:
    (job / "config.yaml").write_text(text)
    assert "has no config.process[0] with a type and a model" in refused(job, tmp_path)


@pytest.mark.parametrize("arch", ["flux", "flex3", None, 3])
def test_wrong_arch(job: Path, edit: Edit, tmp_path: Path, arch: object) -> None:
    edit(lambda process: process["model"].update(arch=arch))
    line = refused(job, tmp_path)
    assert f"config.process[0].model.arch: {arch!r} is not flex2" in line


def test_arch_with_a_suffix_is_the_same_arch(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["model"].update(arch="flex2:24gb"))
    assert import_job(job, out=tmp_path / "cases").cases


def test_wrong_process_type(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process.update(type="extract_lora"))
    line = refused(job, tmp_path)
    assert "config.process[0].type: 'extract_lora' is not a training process" in line


def test_field_of_the_wrong_type_is_named(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["sample"].update(width="wide"))
    line = refused(job, tmp_path)
    assert "config.process[0].sample.width" in line
    assert "'wide'" in line


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("save", 5, "config.process[0].save: Input should be a mapping, found 5"),
        ("adapter", "x", "config.process[0].adapter: Input should be a mapping, found 'x'"),
    ],
)
def test_section_that_is_no_mapping(
    job: Path, edit: Edit, tmp_path: Path, section: str, value: object, said: str
) -> None:
    edit(lambda process: process.update({section: value}))
    assert said in refused(job, tmp_path)


def test_no_previews(job: Path, tmp_path: Path) -> None:
    for path in (job / "samples").glob("*.jpg"):
        path.unlink()
    assert "samples: holds no previews" in refused(job, tmp_path)


def test_no_samples_folder(job: Path, tmp_path: Path) -> None:
    (job / "samples").rename(job / "sample")
    assert "samples: cannot be read" in refused(job, tmp_path)


def test_no_prompts(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["sample"].update(prompts=[]))
    assert "config.process[0].sample: lists no samples" in refused(job, tmp_path)


@pytest.mark.parametrize("length", [0, 10, 1500])
def test_one_bad_image_is_left_out_by_name(job: Path, tmp_path: Path, length: int) -> None:
    path = job / "samples" / "1795423125136__000000010_0.jpg"
    path.write_bytes(path.read_bytes()[:length])
    result = import_job(job, out=tmp_path / "cases")
    assert len(result.cases) == 15
    assert [line for line in result.assumptions if line.startswith(f"left out: {path.name} is ")]
    assert [error.file for error in result.refused] == [path]


def test_images_that_are_all_bad(job: Path, tmp_path: Path) -> None:
    for path in (job / "samples").glob("*.jpg"):
        path.write_bytes(b"")
    assert "samples: each of 16 previews is empty: " in refused(job, tmp_path, ImageError)


def test_flag_that_stops_the_trainer(job: Path, edit: Edit, tmp_path: Path) -> None:
    edit(lambda process: process["sample"].update(prompts=["fine", "a cat --s 25.0"]))
    line = refused(job, tmp_path)
    assert "config.process[0].sample: prompt 1: flag --s takes a whole number, found '25.0'" in line


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "a/b/c", "nameless", "../checkpoints", "models/flex2.gguf"]
)
def test_base_that_cannot_be_found(job: Path, edit: Edit, tmp_path: Path, name: str) -> None:
    edit(lambda process: process["model"].update(name_or_path=name))
    line = refused(job, tmp_path)
    assert f"config.process[0].model.name_or_path: {name!r} is neither" in line
    assert "--base" in line


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("some", "'some' names no steps"),
        ("", "names no steps"),
        ("10,15", "no previews at step 15"),
        ("11-19,30", "no previews at step 11-19"),
        ("20-", "names no steps"),
    ],
)
def test_steps_that_are_not_there(job: Path, tmp_path: Path, steps: str, said: str) -> None:
    assert said in refused(job, tmp_path, steps=steps)

"""A bad job folder is one line on stderr and exit code 2, and leaves nothing half-made behind."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.schema.case import load_cases
from tests.cli.refused import refused

Harness = Callable[..., Any]


def edit(job: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = yaml.safe_load((job / "config.yaml").read_text())
    change(config["config"]["process"][0])
    (job / "config.yaml").write_text(yaml.safe_dump(config))


def preview(job: Path) -> Path:
    return next((job / "samples").glob("*__000000010_0.jpg"))


def lora(job: Path) -> Path:
    return job / "tiny_flex2_simple_v1_000000010.safetensors"


def long_prompt(process: dict[str, Any], prompt: str) -> None:
    process["sample"]["prompts"][0] = prompt


JOBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "job: is not a folder"),
    "no config": (
        lambda job: (job / "config.yaml").unlink(),
        "holds neither config.yaml nor .job_config.json",
    ),
    "broken YAML": (lambda job: (job / "config.yaml").write_text("a: [1"), "config.yaml: is not valid YAML"),
    "unknown Python tag": (
        lambda job: (job / "config.yaml").write_text("job: !!python/object/apply:os.system [ls]"),
        "config.yaml: holds YAML that is not plain data",
    ),
    "wrong arch": (
        lambda job: edit(job, lambda process: process["model"].update(arch="flux")),
        "model.arch: 'flux' is not flex2",
    ),
    "no samples": (lambda job: shutil.rmtree(job / "samples"), "samples: cannot be read"),
    "empty samples": (
        lambda job: [path.unlink() for path in (job / "samples").glob("*.jpg")],
        "samples: holds no previews",
    ),
    "missing base": (
        lambda job: edit(job, lambda process: process["model"].update(name_or_path="/no/such/base")),
        "name_or_path: '/no/such/base' is neither",
    ),
    "flag with a fraction": (
        lambda job: edit(job, lambda process: long_prompt(process, "a cat --s 25.0")),
        "flag --s takes a whole number, found '25.0'",
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_import(harness: Harness, job: Path, name: str) -> None:
    change, said = JOBS[name]
    change(job)
    assert said in refused(harness("import", job, "--out", "cases"))
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one JOB_DIR, or --request with --preview"),
        (["job", "job"], "give one JOB_DIR"),
        (["job", "--preview", "a.png"], "give one JOB_DIR"),
        (["--request", "none.json"], "none.json: cannot be read"),
        (["--request", "none.json", "job"], "job is given beside --request without its --preview"),
        (["job", "--base", "no/such/place"], "neither a folder nor a repository"),
        (["job", "--steps", "7"], "no previews at step 7"),
    ],
)
def test_import_options(harness: Harness, job: Path, arguments: list[str], said: str) -> None:
    job.rename(Path.cwd() / "job")
    assert said in refused(harness("import", *arguments))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "unreadable image": (lambda job: preview(job).write_text("text"), "__000000010_0.jpg is not an image"),
    "truncated image": (
        lambda job: preview(job).write_bytes(preview(job).read_bytes()[:1500]),
        "__000000010_0.jpg is truncated",
    ),
    "pickle": (lambda job: lora(job).write_bytes(pickle.dumps({"a": 1})), "is a pickle"),
    "LoKr": (
        lambda job: lora(job).write_bytes(
            lora(job).read_bytes().replace(b".lora_A.weight", b".lokr_w1.weigh")
        ),
        "is a LoKr file",
    ),
}
"""One bad file of step 10, by name, and what is said of it; the rest of the job is imported."""


@pytest.mark.parametrize("name", SPOILT)
def test_one_bad_file_does_not_stop_an_import(harness: Harness, job: Path, name: str) -> None:
    spoil, said = SPOILT[name]
    spoil(job)
    ended = harness("import", job, "--out", "cases")
    if name == "LoKr":
        assert (ended.code, ended.err) == (0, "")
    else:
        assert said.split(".jpg ")[-1] in refused(ended)
    assert said in " ".join(ended.out.split())
    assert "Traceback" not in ended.out


@pytest.mark.parametrize("flag", ["--w 5000", "--s 151", "--cfg 20.5"])
def test_a_preview_out_of_range_is_a_case_that_says_why(harness: Harness, job: Path, flag: str) -> None:
    edit(job, lambda process: long_prompt(process, f"a cat {flag}"))
    ended = harness("import", job, "--out", "cases")
    assert (ended.code, ended.err) == (0, "")
    assert "16 cases (12 can be re-run)" in ended.out
    reasons = {case.incomparable for case in load_cases([Path("cases")])}
    assert len(reasons) == 2
    assert flag.rpartition(" ")[2] in str(max(reasons, key=bool))


def test_import_into_a_folder_of_something_else(harness: Harness, job: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.txt").write_text("precious")
    assert "is not empty and holds no cases" in refused(harness("import", job, "--out", tmp_path / "thesis"))
    (tmp_path / "file").write_text("a file")
    for out in ("file", "file/below"):
        assert "file" in refused(harness("import", job, "--out", tmp_path / out))

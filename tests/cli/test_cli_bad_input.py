"""Every bad input is one line on stderr and exit code 2, and leaves nothing half-made behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.schema.case import load_cases, save_case

Harness = Callable[..., Any]


def refused(ended: Any) -> str:
    assert ended.code == 2
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("harness: ")
    assert "Traceback" not in ended.out + ended.err
    return str(ended.err)


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
    "no config": (lambda job: (job / "config.yaml").unlink(), "holds no config.yaml"),
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
    "unreadable image": (lambda job: preview(job).write_text("text"), "__000000010_0.jpg: "),
    "truncated image": (
        lambda job: preview(job).write_bytes(preview(job).read_bytes()[:1500]),
        "__000000010_0.jpg: ",
    ),
    "pickle": (lambda job: lora(job).write_bytes(pickle.dumps({"a": 1})), "is a pickle"),
    "LoKr": (
        lambda job: lora(job).write_bytes(
            lora(job).read_bytes().replace(b".lora_A.weight", b".lokr_w1.weigh")
        ),
        "is a LoKr file",
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


@pytest.mark.parametrize("flag", ["--w 5000", "--s 151", "--cfg 20.5", "--seed -1"])
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


def change_case(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = max(folder.glob("*.case.yaml"))
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data))


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no cases": (lambda folder: [path.unlink() for path in folder.glob("*.yaml")], "holds no *.case.yaml"),
    "broken YAML": (lambda folder: (folder / "x.case.yaml").write_text("a: [1"), "is not valid YAML"),
    "unknown key": (
        lambda folder: change_case(folder, lambda case: case.update(lroa=1)),
        "lroa: unknown key; did you mean 'lora'?",
    ),
    "misspelt section": (
        lambda folder: change_case(folder, lambda case: case.update(setings=case.pop("settings"))),
        "setings: unknown key; did you mean 'settings'?",
    ),
    "nothing in it": (lambda folder: (folder / "x.case.yaml").write_text(""), "x.case.yaml: is empty"),
    "size out of range": (
        lambda folder: change_case(folder, lambda case: case["settings"].update(width=32)),
        "settings.width: 32 is outside the reference's range 64 to 4096",
    ),
    "preview changed": (
        lambda folder: next((folder / "previews").glob("*200_2.jpg")).write_bytes(b"x"),
        "preview.sha256: ",
    ),
    "LoRA changed": (lambda folder: next((folder / "loras").iterdir()).write_bytes(b"x"), "lora.sha256: "),
    "LoRA gone": (lambda folder: shutil.rmtree(folder / "loras"), "lora.file: "),
    "missing base": (
        lambda folder: change_case(folder, lambda case: case.update(base={"embedded": "none"})),
        "base: base checkpoint does not exist",
    ),
    "base in no cache": (
        lambda folder: change_case(folder, lambda case: case.update(base={"repo": "nobody/nothing"})),
        "base.repo: nobody/nothing is not in the cache",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_run(harness: Harness, cases: Path, name: str) -> None:
    change, said = CASES[name]
    change(cases)
    assert said in refused(harness("run", cases, "--out", "run"))
    assert list(Path.cwd().iterdir()) == []


def rehashed(cases: Path, data: bytes) -> None:
    """Put other bytes in the LoRA's place, with the hash to match, as a careless user would."""
    import hashlib

    file = next((cases / "loras").iterdir())
    file.write_bytes(data)
    for case in load_cases([cases]):
        if case.lora is not None:
            reference = case.lora.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
            save_case(case.model_copy(update={"lora": reference}), case.folder / "000000200_2.case.yaml")


def test_run_with_a_lora_that_is_not_safe_or_not_a_lora(harness: Harness, cases: Path) -> None:
    good = next((cases / "loras").iterdir()).read_bytes()
    for data, said in (
        (pickle.dumps({"a": 1}), "is a pickle"),
        (good.replace(b".lora_A.weight", b".lokr_w1.weigh"), "is a LoKr file"),
        (good[:-1], "is truncated"),
    ):
        rehashed(cases, data)
        assert said in refused(harness("run", cases, "--out", "run"))
    assert list(Path.cwd().iterdir()) == []


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "base"))


def test_run_on_a_base_without_a_vae(harness: Harness, cases: Path, base: Path) -> None:
    shutil.rmtree(base / "vae")
    assert "vae: component folder is missing" in refused(harness("run", cases, "--base", base))
    index = json.loads((base / "model_index.json").read_text())
    del index["vae"]
    (base / "model_index.json").write_text(json.dumps(index))
    assert "vae: component is not listed" in refused(harness("run", cases, "--base", base))


def test_run_hub_code_without_trust(harness: Harness, cases: Path, base: Path) -> None:
    line = refused(harness("run", cases, "--base", base, "--pipeline", "hub"))
    assert "holds no pipeline.py" in line
    (base / "pipeline.py").write_text("raise SystemExit('this must not run')\n")
    line = refused(harness("run", cases, "--base", base, "--pipeline", "hub"))
    assert "does not run without your trust" in line
    assert "--trust-remote-code" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--base", "./no/such/folder"], "--base: './no/such/folder' is neither a folder nor a repository"),
        (["--base", "embedded:none"], "base checkpoint does not exist"),
        (["--base", "embedded:"], "--base: 'embedded:' is neither"),
        (["--base", "a/b@c@d"], "--base: 'a/b@c@d' is neither"),
        (["--base", "https://huggingface.co/ostris/Flex.2-preview"], "give OWNER/NAME or OWNER/NAME@COMMIT"),
        (["--only", ""], "--only: no case matches ''"),
        (["--only", "x*"], "--only: no case matches 'x*'; ids look like 'emoji_inkprint/000000000_2'"),
        (["--lpips-weights", "none.safetensors"], "none.safetensors"),
    ],
)
def test_run_options(harness: Harness, cases: Path, options: list[str], said: str) -> None:
    assert said in refused(harness("run", cases, "--out", "run", *options))
    assert list(Path.cwd().iterdir()) == []


def test_run_where_no_cases_are(harness: Harness, job: Path) -> None:
    missing = refused(harness("run", "none.case.yaml"))
    assert "none.case.yaml: cannot be read (No such file or directory)" in missing
    assert "config.yaml: is no *.case.yaml; make some with" in refused(harness("run", job / "config.yaml"))


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="this machine has a GPU")
def test_run_on_a_gpu_that_is_not_there(harness: Harness, cases: Path) -> None:
    assert "cuda was asked for" in refused(harness("run", cases, "--device", "cuda", "--out", "run"))
    assert list(Path.cwd().iterdir()) == []


def test_run_into_a_folder_that_cannot_be_written(harness: Harness, cases: Path) -> None:
    Path("file").write_text("a file")
    for out in ("file", "file/below"):
        assert "cannot be written (" in refused(harness("run", cases, "--out", out))
    Path("thesis").mkdir()
    Path("thesis/a.txt").write_text("precious")
    assert "is not empty and holds no run" in refused(harness("run", cases, "--out", "thesis"))
    assert [path.name for path in Path("thesis").iterdir()] == ["a.txt"]
    assert "s3:/bucket/run: --out: is a URL" in refused(harness("run", cases, "--out", "s3://bucket/run"))
    assert not Path("s3:").exists()


def test_run_into_another_run(harness: Harness, cases: Path) -> None:
    assert harness("run", cases, "--out", "run", "--only", "*0_2", "--limit", 1).code in (0, 1)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    line = refused(harness("run", cases, "--out", "run", "--dtype", "fp32"))
    assert "holds another run: cases, dtype differ" in line
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["rescore", "report"])
def test_a_folder_that_is_no_run(harness: Harness, command: str) -> None:
    assert "is not a run folder" in refused(harness(command, "."))
    assert "is not a run folder" in refused(harness(command, "none"))
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument"),
        (["run", ".", "--device", "tpu"], "--device"),
        (["run", ".", "--pipeline", "mine"], "--pipeline"),
        (["run", ".", "--dtype", "int8"], "--dtype"),
        (["run", ".", "--offload", "disk"], "--offload"),
        (["run", ".", "--limit", "0"], "--limit"),
        (["run", ".", "--limit", "many"], "--limit"),
        (["run", ".", "--ssim-min", "1.5"], "--ssim-min"),
        (["run", ".", "--lpips-max", "-1"], "--lpips-max"),
        (["run", ".", "--colour"], "--colour"),
        (["rescore"], "Missing argument"),
        (["paint"], "No such command"),
    ],
)
def test_usage(harness: Harness, arguments: list[str], said: str) -> None:
    ended = harness(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.lstrip().startswith("Usage: harness ")
    assert "Traceback" not in ended.err


def test_a_report_of_nothing(harness: Harness) -> None:
    ended = harness("report")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "harness: RUN: no run folder is named; name one, or ask for --history\n"


SCRIPT = Path(sys.executable).with_name("harness")


def test_the_console_script_itself(job: Path, cases: Path, tmp_path: Path) -> None:
    next((cases / "loras").iterdir()).write_bytes(b"x")
    (job / "config.yaml").unlink()
    for arguments, said in (
        (["import", str(job)], "holds no config.yaml"),
        (["run", str(cases)], "lora.sha256"),
        (["report", str(tmp_path)], "is not a run folder"),
    ):
        ended = subprocess.run(
            [SCRIPT, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert said in ended.stderr


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to(harness: Harness, job: Path, cases: Path) -> None:
    case = min(cases.glob("*.case.yaml"))
    assert harness("run", cases, "--out", "run", "--limit", "1").code == 1
    for arguments in (
        ("run", cases, "--out", "/proc/run"),
        ("sweep", cases, "--out", "/proc/run", "--axis", "seed=1"),
        ("calibrate", cases, "--run", "/proc/run"),
        ("accept", "run", "--reason", "x", "--baselines", "/proc/baselines"),
        ("import", job, "--out", "/proc/cases"),
        ("bundle", load_cases([cases])[0].id, "--run", "run", "--out", "/proc/a.zip"),
        ("diagnose", case, "--static", "--json", "/proc/a.json"),
    ):
        ended = harness(*arguments)
        assert (ended.code, ended.err.count("\n"), ended.err[:15]) == (2, 1, "harness: /proc/"), ended.err


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_file_that_never_ends(harness: Harness, device: str) -> None:
    for arguments in (
        ("run", device),
        ("apply-review", device),
        ("import", "--request", device, "--preview", "a"),
    ):
        assert "not a regular file" in refused(harness(*arguments))

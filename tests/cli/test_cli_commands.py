"""The commands end to end, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.app import PANELS
from harness.pipeline.noise import torch_era
from harness.runs.results import load_run
from harness.schema.case import load_cases
from harness.sweeps.axes import AXES

Harness = Callable[..., Any]


def test_help_lists_every_command(harness: Harness) -> None:
    ended = harness("--help")
    assert (ended.code, ended.err) == (0, "")
    names = [name for panel in PANELS.values() for name in panel]
    assert len(names) == 21
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name in names:
        assert f" {name} " in ended.out
        assert f"`{name}`" in readme or f"`harness {name}`" in readme
        assert harness(name, "--help").code == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [("rnu", "No such command 'rnu'. Did you mean 'run'?\n"), ("zzz", "No such command 'zzz'.\n")],
)
def test_a_mistyped_command_gets_the_nearest(harness: Harness, typed: str, said: str) -> None:
    ended = harness(typed)
    assert (ended.code, ended.err.endswith(said)) == (2, True)


def test_help_keeps_what_stands_in_brackets(harness: Harness) -> None:
    text = " ".join(harness("run", "--help").out.split())
    assert "OWNER/NAME, OWNER/NAME@COMMIT, a folder" in text
    assert "[env var: HARNESS_BASE]" in text
    assert "--offload [auto|none|model|sequential]" in text
    assert "[env var: HARNESS_DEVICE; default: auto]" in text


def test_schema(harness: Harness) -> None:
    ended = harness("schema")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (Path(__file__).parents[2] / "cases" / "case.schema.json").read_text()


def test_doctor(harness: Harness) -> None:
    ended = harness("doctor")
    assert (ended.code, ended.err) == (0, "")
    for topic in ("packages", "GPU", "memory", "base", "pipeline", "LPIPS", "noise era", "trainer", "disk"):
        assert f" {topic} " in ended.out
    assert "torch 2.13.0, transformers 5.5.3" in ended.out
    assert f"{torch_era()} noise" in ended.out
    assert "ostris/Flex.2-preview" in ended.out


def test_doctor_compares_with_the_versions_that_cases_record(harness: Harness, cases: Path) -> None:
    old, unknown = sorted(cases.glob("*.case.yaml"))
    written = "  software: ai-toolkit 0.12.26\n"
    old.write_text(old.read_text().replace(written, "  software: ai-toolkit 0.7.21\n"))
    unknown.write_text(unknown.read_text().replace(written, ""))
    ended = harness("doctor", cases)
    assert (ended.code, ended.err) == (0, "")
    said = " ".join(ended.out.split())
    assert "ai-toolkit 0.7.21, which the cases record: torch 2.9.1, transformers 4.57.3" in said
    assert "noise: legacy there" in said
    assert "the cases record no version" in said
    assert "5.5.3" not in said
    assert harness("doctor", cases / "none").code == 2


@pytest.mark.parametrize(("granted", "said"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_doctor_reads_trust_as_the_run_does(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, granted: str, said: bool
) -> None:
    monkeypatch.setenv("HARNESS_TRUST_REMOTE_CODE", granted)
    assert ("remote code is not trusted" not in harness("doctor").out) is said


def test_import_prints_what_was_paired_with_what(harness: Harness, jobs: dict[str, Path]) -> None:
    ended = harness("import", jobs["q8"], "--out", "cases", "--steps", "10,40")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("000000010_")] == [
        [f"000000010_{index}", "none"] for index in range(3)
    ]
    reason = "cannot be re-run: 000000010_0, 000000010_1, 000000010_2: the checkpoint of step 10 is missing"
    assert reason in ended.out
    assert [line.split()[:7] for line in lines if line.startswith("000000040_")] == [
        [f"000000040_{index}", "tiny_flex2_q8", "0.7", seed, "128×128", "25", "4"]
        for index, seed in enumerate(("42", "7", "7"))
    ]
    assert any(line.startswith("assumed: ") for line in lines)
    assert any(line.startswith("assumed for sample 2: the seed is that of sample 1") for line in lines)
    assert "6 cases (3 can be re-run) → " in ended.out
    assert len(load_cases([Path("cases")])) == 6


def test_run_report_and_rescore(harness: Harness, cases: Path) -> None:
    ended = harness("run", cases, "--out", "run", "--ssim-min", "-1", "--lpips-max", 9, "--psnr-min", 0)
    assert (ended.code, ended.err) == (0, "")
    assert "2 cases: 2 match" in ended.out
    assert "report: run/index.html" in ended.out
    rows = [json.loads(line) for line in Path("run/results.jsonl").read_text().splitlines()]
    assert {row["tolerance"]["source"] for row in rows} == {"command line"}

    ended = harness("run", cases, "--out", "run")
    assert ended.code == 1
    assert "2 of them done before" in ended.out
    assert "2 cases: 2 drift" in ended.out

    ended = harness("rescore", "run", "--ssim-min", "-1", "--lpips-max", 9, "--psnr-min", 0)
    assert (ended.code, ended.err) == (0, "")
    assert "2 cases: 2 match" in ended.out

    Path("run/index.html").unlink()
    ended = harness("report", "run")
    assert (ended.code, ended.err, ended.out) == (0, "", "run/index.html\n")
    assert "emoji_inkprint/000000200_2" in Path("run/index.html").read_text()


def test_options_come_from_the_environment_too(
    harness: Harness, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DTYPE", "fp32")
    monkeypatch.setenv("HARNESS_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "60")
    ended = harness("run", cases, "--out", "run", "--limit", 1)
    (row,) = load_run(Path("run")).rows
    assert row.reason in ended.out, "a log gets the whole reason, however narrow"
    assert row.rendered is not None
    assert row.rendered.dtype == "fp32"


@pytest.mark.parametrize("chosen", [None, "2"])
def test_the_demo_takes_one_thread_unless_the_user_chose(chosen: str | None, tmp_path: Path) -> None:
    """The demo imports torch, then refuses a folder that is not its own; on one core there is no choice."""
    (tmp_path / "theirs.txt").touch()
    script = (
        "import sys\n"
        "from harness.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    import torch\n"
        "    print(torch.get_num_threads())\n"
    )
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", script, "demo", "--out", tmp_path, "--cases", tmp_path / "cases"],
        env=variables | ({"OMP_NUM_THREADS": chosen} if chosen else {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split()[-1] == (chosen or "1"), done.stdout + done.stderr


def test_axes_are_listed_without_cases(harness: Harness) -> None:
    ended = harness("sweep", "--list-axes")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[0] for line in ended.out.splitlines()] == list(AXES)


def test_a_sweep_without_out_gets_a_folder_of_its_own(harness: Harness, cases: Path) -> None:
    ended = harness("sweep", cases, "--limit", 1, "--axis", "steps=1")
    assert " steps=1  " in ended.out
    assert (ended.code, ended.err) == (0, "")
    (folder,) = Path("reports").iterdir()
    assert folder.name.startswith("sweep-")
    assert [row.variant for row in load_run(folder).rows] == ["reference", "steps=1"]


def test_ctrl_c_before_a_command_began_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.cli import app, main

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "app", interrupted)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert capsys.readouterr().err == "harness: interrupted: no file is half-written; repeat the command\n"

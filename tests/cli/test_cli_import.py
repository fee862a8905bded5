"""What ``harness import`` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.importers.shared_jobs import shipped_job

Harness = Callable[..., Any]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, harness: Harness) -> Harness:
    """Runs ``harness`` on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return harness


def test_table_fits_80_columns_and_cuts_only_names_and_prompts(
    narrow: Harness, jobs: dict[str, Path]
) -> None:
    lines = narrow("import", jobs["simple"], "--out", "cases", "--steps", "10").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["case", "LoRA", "mult", "seed", "size", "steps", "cfg", "prompt"]
    assert [line.split()[:8] for line in lines[1:5]] == [
        [f"000000010_{index}", "…e_v1_000000010", "1", seed, size, steps, guidance, word]
        for index, (seed, size, steps, guidance, word) in enumerate(
            [
                ("42", "128×128", "16", "4", "portrait"),
                ("42", "128×128", "16", "4", "a"),
                ("7", "96×160", "12", "3", "a"),
                ("42", "128×128", "16", "4", "moon"),
            ]
        )
    ]
    assert lines[1].rstrip().endswith("…")


def test_every_assumption_is_printed_once_with_its_samples(narrow: Harness, jobs: dict[str, Path]) -> None:
    text = " ".join(narrow("import", jobs["simple"], "--out", "cases").out.split())
    assert text.count("assumed for sample 3: the trainer dropped '--film grain'") == 1
    assert text.count("assumed for samples 0, 1, 2, 3: step 0: nothing is trained yet") == 1
    assert "assumed: network.linear_alpha is 4 at rank 8" in text


def test_reasons_are_printed_once_with_their_cases(narrow: Harness, job: Path) -> None:
    config = job / "config.yaml"
    config.write_text(re.sub(r"seed: 42", "seed: -1", config.read_text()))
    text = " ".join(narrow("import", job, "--out", "cases").out.split())
    where = "000000000_0, 000000000_1, 000000000_3, 000000010_0 and 8 more"
    assert text.count(f"cannot be re-run: {where}: its seed is -1") == 1
    assert "16 cases (4 can be re-run) → cases" in text


def test_what_comes_next_depends_on_the_base(narrow: Harness, jobs: dict[str, Path]) -> None:
    local = narrow("import", jobs["simple"], "--out", "my cases").out
    assert local.splitlines()[-1] == "next: harness run 'my cases'"
    hub = narrow("import", jobs["simple"], "--out", "hub", "--base", "me/mine").out.splitlines()[-2:]
    assert hub[0] == "next: harness run hub --pipeline builtin"
    assert hub[1].startswith("  or: harness run hub --trust-remote-code ")
    assert "pipeline.py of me/mine: read it first" in hub[1]


def test_steps_do_not_go_with_a_request(harness: Harness, tmp_path: Path) -> None:
    request, image = tmp_path / "r.json", tmp_path / "a.png"
    request.write_text(json.dumps({"model": "flex2", "prompts": [{"prompt": "a"}]}))
    Image.new("RGB", (1024, 1024)).save(image)
    arguments = ("import", "--request", request, "--preview", image, "--out", "cases")
    ended = harness(*arguments, "--steps", "5")
    assert ended.code == 2
    assert "--steps goes with JOB_DIR" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not Path("cases").exists()
    assert harness(*arguments).code == 0


@pytest.mark.parametrize(
    "images", [("--preview", "a.png", "b.png"), ("--preview", "a.png", "--preview", "b.png")]
)
def test_images_of_a_request_in_either_spelling(harness: Harness, images: tuple[str, ...]) -> None:
    body = {"model": "flex2", "prompts": [{"prompt": "a", "width": 64}, {"prompt": "b", "width": 96}]}
    Path("r.json").write_text(json.dumps(body), encoding="utf-8-sig")
    Image.new("RGB", (64, 1024)).save("a.png")
    Image.new("RGB", (96, 1024)).save("b.png")
    ended = harness("import", "--request", "r.json", *images)
    assert (ended.code, ended.err) == (0, "")
    assert "2 cases (2 can be re-run) → cases/r" in ended.out


@pytest.mark.parametrize(("header", "code"), [("{}", 2), ("null", 0)])
def test_a_refused_lora_is_one_line_and_the_exit_code(
    harness: Harness, tmp_path: Path, header: str, code: int
) -> None:
    job = shipped_job(tmp_path, metadata={"lora_adapter_metadata": header})
    ended = harness("import", job, "--out", "cases")
    assert ended.code == code
    assert f"16 cases ({12 if code else 16} can be re-run) → cases" in ended.out
    assert [line.split(": ")[1] for line in ended.err.splitlines()] == [
        str(job / "emoji_inkprint.safetensors")
    ] * (code // 2)


def test_links_that_go_in_circles(harness: Harness, jobs: dict[str, Path]) -> None:
    Path("loop").symlink_to("loop")
    for arguments in (("loop",), (jobs["simple"], "--out", "loop")):
        ended = harness("import", *arguments)
        assert ended.code == 2
        assert len(ended.err.splitlines()) == 1


def test_what_is_left_out_is_said_and_not_assumed(harness: Harness, job: Path) -> None:
    preview = min((job / "samples").glob("*.jpg"))
    preview.write_bytes(b"")
    Image.new("RGB", (8, 8)).save(job / "samples" / "cat.png")
    ended = harness("import", job)
    assert (ended.code, ended.err) == (2, f"harness: {preview}: is empty; copy it again\n")
    lines = [line for line in ended.out.splitlines() if "left out" in line]
    assert [line.partition(";")[0] for line in lines] == [
        f"left out: {preview.name} is empty",
        "left out: 1 image of another name: cat.png",
    ]


def test_text_of_strangers_moves_no_cursor(harness: Harness, job: Path) -> None:
    config = job / "config.yaml"
    config.write_text(
        config.read_text().replace("prompts:\n", 'prompts:\n      - "a \\e[2J cat \\u009b5m"\n', 1)
    )
    ended = harness("import", job, "--out", "cases", "--steps", "10")
    assert ended.code == 0
    assert r"a \x1b[2J cat \x9b5m" in ended.out
    case = min(Path("cases").glob("*.case.yaml"))
    case.write_text(case.read_text().replace("software: ai-toolkit", 'software: "\\e[5m ai-toolkit 9" #'))
    seen = harness("doctor", case)
    assert r"\x1b[5m ai-toolkit 9" in seen.out
    assert "\x1b" not in ended.out + ended.err + seen.out

"""``harness compare`` and ``harness export``, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from harness.importers.aitoolkit import import_job
from harness.runs.environment import environment
from tests.cli.conftest import Harness
from tests.comparison.conftest import IMAGES


@pytest.fixture
def case(tmp_path: Path, jobs: dict[str, Path]) -> Path:
    """The case file of the shipped job's large cat."""
    import_job(jobs["inkprint"], out=tmp_path / "cases", steps="300")
    (file,) = (tmp_path / "cases").glob("*_0.case.yaml")
    return file


def test_a_servers_image_is_explained_and_shown(harness: Harness, case: Path, tmp_path: Path) -> None:
    said, page = tmp_path / "said.json", tmp_path / "page.html"
    files = ("--request", IMAGES / "result_1.request.json", "--json", said, "--report", page)
    ended = harness("compare", case, IMAGES / "result_1.jpg", "--device", "cpu", *files)
    assert ended.code == 0, ended.err
    found = json.loads(said.read_text())
    (difference,) = found["differences"]
    assert (difference["setting"], difference["source"]) == ("guidance_scale", "metadata")
    assert found["dialect"]["name"] == "reference"
    assert [each["setting"] for each in found["dialect"]["settings"]] == ["t5_attention"]
    identical = found["proof"]["identical"]
    assert identical or environment("cpu")["cpu_bf16"] != "avx512_bf16"  # which made it
    assert len(found["remaining"]) == (1 if identical else 2)  # T5's kernel, and the tool's own arithmetic
    assert "guidance_scale" in ended.out
    assert "guidance_scale" in page.read_text()


def test_the_static_answer_names_node_and_values(harness: Harness, case: Path) -> None:
    ended = harness("compare", case, IMAGES / "inkprint_00002_.png", "--static")
    assert (ended.code, ended.err) == (0, "")
    assert "  ≠ guidance_scale       4.0 · 3.5  [node 25 Flex2Conditioner, guidance]\n" in ended.out
    assert "Flex2Conditioner, guidance" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.png",), "none.png"),
        ((IMAGES / "inkprint_00002_.png", "--settings", "none.yaml"), "none.yaml: cannot be read"),
        ((IMAGES / "result_1.jpg", "--request", "none.json"), "none.json: cannot be read"),
    ],
)
def test_bad_input_is_one_line(
    harness: Harness, case: Path, arguments: tuple[object, ...], said: str
) -> None:
    ended = harness("compare", case, *arguments, "--static")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert said in ended.err


def test_an_image_or_preview_that_cannot_be_read_is_not_comparable(
    harness: Harness, case: Path, tmp_path: Path
) -> None:
    whole = IMAGES / "result_1.jpg"
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:2000])
    ended = harness("compare", case, cut, "--static")
    assert "not comparable: the image is truncated or cannot be read (" in ended.out
    Image.open(whole).save(cut := tmp_path / "cut.png")
    cut.write_bytes(cut.read_bytes()[:2000])
    assert harness("compare", case, cut, "--static").err.endswith("; copy it again\n")
    alpha = tmp_path / "alpha.png"
    Image.open(whole).convert("RGBA").save(alpha)
    ended = harness("compare", case, alpha, "--static")
    assert "not comparable: the image has mode RGBA, not RGB\n" in ended.out
    assert "not comparable" not in harness("compare", case, whole, "--static").out
    (preview,) = (case.parent / "previews").glob("*_0.jpg")
    preview.write_bytes(b"")
    assert "not comparable: the preview is empty\n" in harness("compare", case, whole, "--static").out


def test_no_image_is_rendered_before_all_are_known_to_be_whole(
    harness: Harness, case: Path, tmp_path: Path
) -> None:
    whole, cut = IMAGES / "result_1.jpg", tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:2000])
    for second in (cut, tmp_path / "none.png", case):
        ended = harness("compare", case, whole, second, "--device", "cpu", "--budget", "2")
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert f"harness: {second}: " in ended.err


def test_every_kind_of_export_is_written(harness: Harness, case: Path) -> None:
    for kind, written in (
        ("comfy", "workflow_api.json"),
        ("diffusers", "out.diffusers"),
        ("request", "out.request"),
    ):
        ended = harness("export", kind, case, "--out", f"out.{kind}")
        assert (ended.code, ended.err) == (0, "")
        assert written in ended.out
    assert json.loads(Path("out.request").read_text())["prompts"][0]["seed"] == 42
    compile(Path("out.diffusers").read_text(), "out.diffusers", "exec")

"""Runs on the real tiny checkpoint: rows with their evidence, resuming, failures, re-scoring."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from harness._util.atomic_files import sha256_file
from harness.judging.verdict import DEFAULT_TOLERANCE
from harness.metrics.images import load_rgb
from harness.pipeline.noise import torch_era
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import plan
from harness.runs.planned import Planned
from harness.runs.results import RunResult
from harness.runs.run import run_cases
from harness.schema.case import Case
from harness.schema.render import RenderRequest
from harness.schema.result import Row, Verdict
from tests.runs.conftest import MakeCase
from tests.runs.counting import ANYTHING, CPU, NOTHING, Counting, by_name


class Seen:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def started(self, folder: Path, planned: list[Planned], done: int) -> None:
        self.said.append((folder.name, len(planned), done))

    def told(self, line: str) -> None:
        self.said.append(line)

    def case_started(self, planned: Planned) -> None:
        self.said.append(planned.case.id)

    def step_done(self, done: int, total: int) -> None:
        self.said.append((done, total))

    def case_done(self, row: Row) -> None:
        self.said.append(row.verdict)


def test_a_row_holds_its_evidence(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case("a", lora=200, multiplier=0.7, settings={"neg": "blurry", "guidance_scale": 3.5})
    result = run_cases([case], out=tmp_path / "run", options=CPU)
    (line,) = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["case"] == "small/a"
    assert row["variant"] == "reference"
    assert row["verdict"] == "drift"
    assert "SSIM" in row["reason"]
    assert 0 < row["ssim"] < 0.985
    assert row["lpips"] > 0.02
    assert 0 < row["psnr"] < 40
    assert set(row["pixels"]) == {"identical", "max_abs", "mean_abs", "changed", "worst_tile"}
    for part in ("raw", "codec_floor"):
        assert set(row[part]) == {"ssim", "lpips", "psnr", "pixels"}
    assert row["codec_floor"]["psnr"] > row["raw"]["psnr"]
    assert row["settings"] == {
        "prompt": "a large rocket",
        "neg": "blurry",
        "width": 64,
        "height": 64,
        "seed": 5,
        "sample_steps": 2,
        "guidance_scale": 3.5,
        "network_multiplier": 0.7,
    }
    rendered = row["rendered"]
    assert (rendered["width"], rendered["height"], rendered["steps"], rendered["seed"]) == (64, 64, 2, 5)
    assert (rendered["dtype"], rendered["device"], rendered["noise"]) == ("bf16", "cpu", torch_era())
    assert (rendered["pipeline"], rendered["base"]) == ("builtin", "embedded:tiny-flex2-emoji")
    assert rendered["revision"].startswith("content:")
    assert len(rendered["sigmas"]) == 3
    assert len(rendered["sigmas_sha256"]) == len(rendered["pipeline_sha256"]) == 64
    assert case.lora is not None
    assert (rendered["lora_mode"], rendered["lora_sha256"]) == ("fused", case.lora.sha256)
    assert rendered["network_multiplier"] == 0.7
    assert row["environment"]["packages"]["torch"]
    assert [each["id"] for each in row["findings"]] == ["noise-era", "codec", "idle-settings"]
    assert row["tolerance"] == DEFAULT_TOLERANCE.model_dump()
    assert row["tolerance"]["source"] == "harness default"
    assert {"load", "render", "score"} <= set(row["seconds"])
    run = tmp_path / "run"
    assert sha256_file(run / row["images"]["preview"]) == case.preview.sha256
    assert load_rgb(run / row["images"]["rerun"]).shape == (64, 64, 3)
    assert set(row["images"]["maps"]) == {"difference", "ssim", "lpips"}
    for path in row["images"]["maps"].values():
        assert load_rgb(run / path).shape == (64, 64, 3)
    assert result.rows[0].description.model_dump() == case.model_dump()


def test_the_rerun_is_kept_without_loss(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case("a")
    rendered = ReferenceRenderer(device="cpu").render(_request(case)).image
    (row,) = run_cases([case], out=tmp_path / "run", options=CPU).rows
    assert np.array_equal(load_rgb(tmp_path / "run" / str(row.images.rerun)), rendered)


def _request(case: Case) -> RenderRequest:
    request = plan([case], CPU, "cpu")[0].request
    assert request is not None
    return request


def test_verdicts_and_exit_codes(make_case: MakeCase, tmp_path: Path) -> None:
    match = make_case("match", tolerance=ANYTHING)
    drift = make_case("drift", tolerance=NOTHING)
    gone = make_case("gone", incomparable="the checkpoint was pruned")
    renderer = Counting()

    def run(name: str, *cases: Case) -> RunResult:
        return run_cases(list(cases), out=tmp_path / name, options=CPU, renderer=renderer)

    assert run("1", match).exit_code == 0
    assert run("2", match, drift).exit_code == 1
    assert renderer.seeds == [5] * 3
    result = run("3", match, gone)
    assert result.exit_code == 1
    assert result.counts == {Verdict.MATCH: 1, Verdict.INCOMPARABLE: 1}
    assert renderer.seeds == [5] * 4, "what cannot be compared is not rendered"
    row = by_name(result)["gone"]
    assert row.reason == "the checkpoint was pruned"
    assert (row.scores, row.rendered, row.images.rerun) == (None, None, None)
    assert (tmp_path / "3" / row.images.preview).is_file()
    assert renderer.closed == 3


def test_the_command_line_overrides_the_case_and_the_case_the_default(
    make_case: MakeCase, tmp_path: Path
) -> None:
    case = make_case("a", tolerance=NOTHING)
    options = dataclasses.replace(CPU, tolerance=ANYTHING)
    (row,) = run_cases([case], out=tmp_path / "run", options=options).rows
    assert (row.tolerance, row.verdict) == (ANYTHING, Verdict.MATCH)
    (row,) = run_cases([case], out=tmp_path / "run", options=CPU).rows
    assert (row.tolerance.ssim_min, row.verdict) == (NOTHING.ssim_min, Verdict.DRIFT)
    assert row.tolerance.source == f"case file: {NOTHING.source}"


def test_progress_is_told(make_case: MakeCase, tmp_path: Path) -> None:
    seen = Seen()
    cases = [make_case("a", tolerance=ANYTHING), make_case("b", incomparable="pruned")]
    run_cases(cases, out=tmp_path / "run", options=CPU, progress=seen)
    assert seen.said == [
        ("run", 2, 0),
        "small/a",
        (1, 2),
        (2, 2),
        Verdict.MATCH,
        "small/b",
        Verdict.INCOMPARABLE,
    ]


def test_other_sizes_are_not_compared(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case("a", size=(112, 128), asked=(112, 128))
    result = run_cases([case], out=tmp_path / "run", options=CPU)
    (row,) = result.rows
    assert (row.verdict, result.exit_code) == (Verdict.INCOMPARABLE, 1)
    assert "the preview is 112×128 and the re-run 96×128" in row.reason
    assert "multiples of 32" in row.reason
    assert "not resized" in row.reason
    assert row.scores is None
    assert row.rendered is not None
    assert (row.rendered.width, row.rendered.height) == (96, 128)
    assert load_rgb(tmp_path / "run" / str(row.images.rerun)).shape == (128, 96, 3)
    assert load_rgb(tmp_path / "run" / row.images.preview).shape == (128, 112, 3)


def test_the_frame_has_a_line_per_case(make_case: MakeCase, tmp_path: Path) -> None:
    cases = [make_case("a", tolerance=ANYTHING), make_case("b", incomparable="pruned")]
    frame = run_cases(cases, out=tmp_path / "run", options=CPU).frame()
    assert list(frame["case"]) == ["small/a", "small/b"]
    assert list(frame["verdict"]) == ["match", "incomparable"]
    assert frame["ssim"].notna().tolist() == [True, False]

"""Runs on the real tiny checkpoint: rows with their evidence, resuming, failures, re-scoring."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness._util.atomic_files import sha256_file
from harness.errors import CaseError, DeviceError, HarnessError, LoraError, RenderError
from harness.judging.verdict import DEFAULT_TOLERANCE
from harness.metrics.images import load_rgb
from harness.pipeline.noise import torch_era
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import Planned, RunOptions, plan
from harness.runs.rescore import rescore
from harness.runs.results import RunResult, load_run
from harness.runs.run import run_cases
from harness.schema.case import Base, Case, Tolerance, load_cases
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row, Verdict

MakeCase = Callable[..., Case]
CPU = RunOptions(device="cpu")
ANYTHING = Tolerance(ssim_min=-1, lpips_max=100, source="test")
NOTHING = Tolerance(ssim_min=1, lpips_max=0, source="test")


class Counting:
    """The reference renderer; remembers what it rendered, and may stop or fail at one of them."""

    def __init__(
        self,
        *,
        interrupt_at: int | None = None,
        fail_seed: int | None = None,
        kind: type[HarnessError] = RenderError,
    ) -> None:
        self._real = ReferenceRenderer(device="cpu")
        self._interrupt_at, self._fail_seed, self._kind = interrupt_at, fail_seed, kind
        self.seeds: list[int] = []
        self.closed = 0

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if len(self.seeds) == self._interrupt_at:
            raise KeyboardInterrupt
        if request.seed == self._fail_seed:
            raise self._kind("out of memory\non the GPU")
        self.seeds.append(request.seed)
        return self._real.render(request, on_step)

    def close(self) -> None:
        self.closed += 1
        self._real.close()


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


def seeded(make_case: MakeCase, count: int = 4, **fields: Any) -> list[Case]:
    return [make_case(f"s{seed}", settings={"seed": seed}, **fields) for seed in range(count)]


def by_name(result: RunResult) -> dict[str, Row]:
    return {row.case.removeprefix("small/"): row for row in result.rows}


def images(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


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


def test_an_interrupted_run_goes_on_where_it_stopped(make_case: MakeCase, tmp_path: Path) -> None:
    cases = seeded(make_case)
    whole = run_cases(cases, out=tmp_path / "whole", options=CPU)
    first = Counting(interrupt_at=2)
    with pytest.raises(KeyboardInterrupt):
        run_cases(cases, out=tmp_path / "run", options=CPU, renderer=first)
    assert first.closed == 1
    assert len(load_run(tmp_path / "run").rows) == 2
    with (tmp_path / "run" / "results.jsonl").open("a") as stream:
        stream.write('{"case": "small/s2", "ver')
    second = Counting()
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=second)
    assert (first.seeds, second.seeds) == ([0, 1], [2, 3])
    assert images(tmp_path / "run") == images(tmp_path / "whole")
    unmoved = {"seconds": {}, "images": None, "render_key": None}
    assert [row.model_copy(update=unmoved) for row in result.rows] == [
        row.model_copy(update=unmoved) for row in whole.rows
    ]
    third = Counting()
    again = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=third)
    assert third.seeds == []
    assert again.rows == result.rows


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.schema.case import load_cases
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.run import run_cases
from harness.runs.plan import RunOptions

class Doomed(ReferenceRenderer):
    def render(self, request, on_step=None):
        def step(done, total):
            if request.seed == 2 and done == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().render(request, step)

cases = load_cases([Path(sys.argv[1])])
run_cases(cases, out=Path(sys.argv[2]), options=RunOptions(device="cpu"), renderer=Doomed(device="cpu"))
"""


def test_a_process_killed_amid_a_render_loses_that_render_only(make_case: MakeCase, tmp_path: Path) -> None:
    cases = seeded(make_case)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cases"), str(tmp_path / "run")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [row.settings["seed"] for row in load_run(tmp_path / "run").rows] == [0, 1]
    renderer = Counting()
    run_cases(cases, out=tmp_path / "run", options=CPU, renderer=renderer)
    assert renderer.seeds == [2, 3]
    run_cases(cases, out=tmp_path / "whole", options=CPU)
    assert images(tmp_path / "run") == images(tmp_path / "whole")


def test_a_render_that_fails_is_a_row_and_is_tried_again(make_case: MakeCase, tmp_path: Path) -> None:
    cases = seeded(make_case, 3, tolerance=ANYTHING)
    broken = Counting(fail_seed=1)
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=broken)
    assert broken.seeds == [0, 2]
    row = by_name(result)["s1"]
    assert (row.verdict, row.reason, row.scores) == (Verdict.ERROR, "out of memory on the GPU", None)
    assert result.exit_code == 3
    mended = Counting()
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=mended)
    assert mended.seeds == [1]
    assert result.exit_code == 0


def test_bad_input_found_while_rendering_stops_the_run(make_case: MakeCase, tmp_path: Path) -> None:
    broken = Counting(fail_seed=1, kind=LoraError)
    with pytest.raises(LoraError):
        run_cases(seeded(make_case, 3), out=tmp_path / "run", options=CPU, renderer=broken)
    assert (broken.seeds, broken.closed) == ([0], 1)
    assert len(load_run(tmp_path / "run").rows) == 1


def test_a_changed_case_is_rendered_again(make_case: MakeCase, tmp_path: Path) -> None:
    run_cases(seeded(make_case, 2), out=tmp_path / "run", options=CPU)
    changed = make_case("s1", settings={"seed": 7})
    renderer = Counting()
    cases = load_cases([tmp_path / "cases"])
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=renderer)
    assert renderer.seeds == [7]
    assert by_name(result)["s1"].description.model_dump() == changed.model_dump()


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


class TestPreflight:
    """What is found before anything is rendered or written."""

    def refused(self, cases: list[Case], out: Path, kind: type[HarnessError], **options: Any) -> str:
        renderer = Counting()
        with pytest.raises(kind) as caught:
            run_cases(cases, out=out, options=dataclasses.replace(CPU, **options), renderer=renderer)
        assert renderer.seeds == []
        assert not out.exists()
        return str(caught.value)

    def test_a_preview_that_changed(self, make_case: MakeCase, tmp_path: Path) -> None:
        cases = seeded(make_case, 2)
        cases[1].preview_path.write_bytes(b"other")
        assert "preview.sha256" in self.refused(cases, tmp_path / "run", CaseError)

    def test_a_preview_that_is_no_image(self, make_case: MakeCase, tmp_path: Path) -> None:
        case = make_case("a")
        case.preview_path.write_bytes(b"text")
        preview = case.preview.model_copy(update={"sha256": sha256_file(case.preview_path)})
        bad = make_case("b").model_copy(update={"preview": preview})
        assert "a.jpg" in self.refused([bad], tmp_path / "run", HarnessError)

    def test_a_recorded_size_that_is_not_the_images(self, make_case: MakeCase, tmp_path: Path) -> None:
        case = make_case("a")
        preview = case.preview.model_copy(update={"width": 32})
        line = self.refused([case.model_copy(update={"preview": preview})], tmp_path / "run", CaseError)
        assert "preview.width: says 32×64, the image is 64×64" in line

    def test_a_missing_base(self, make_case: MakeCase, tmp_path: Path) -> None:
        case = make_case("a", base=Base(path="absent"))
        assert "base checkpoint does not exist" in self.refused([case], tmp_path / "run", HarnessError)

    def test_cuda(self, make_case: MakeCase, tmp_path: Path) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        self.refused([make_case("a")], tmp_path / "run", DeviceError, device="cuda")


@pytest.fixture
def finished(make_case: MakeCase, tmp_path: Path) -> RunResult:
    cases = [make_case("a"), make_case("b", incomparable="pruned"), make_case("c", size=(112, 128))]
    return run_cases(cases, out=tmp_path / "run", options=CPU)


def test_a_rescore_says_what_the_run_said(finished: RunResult) -> None:
    before = images(finished.folder)
    assert rescore(finished.folder).rows == finished.rows
    assert images(finished.folder) == before


def test_a_rescore_by_another_tolerance_flips_the_verdict(finished: RunResult) -> None:
    assert by_name(finished)["a"].verdict is Verdict.DRIFT
    result = rescore(finished.folder, tolerance=ANYTHING)
    rows = by_name(result)
    assert (rows["a"].verdict, rows["a"].tolerance) == (Verdict.MATCH, ANYTHING)
    assert rows["a"].scores == by_name(finished)["a"].scores
    assert [rows[name].verdict for name in "bc"] == [Verdict.INCOMPARABLE] * 2
    assert rescore(finished.folder, tolerance=DEFAULT_TOLERANCE).rows == finished.rows


RESCORE = """
import sys
from pathlib import Path
from harness.report.build import build_report
from harness.runs.rescore import rescore
result = rescore(Path(sys.argv[1]))
build_report(result.folder)
loaded = {"diffusers", "transformers", "peft", "accelerate"} & set(sys.modules)
assert not loaded, loaded
"""


def test_a_rescore_and_its_report_load_no_model(finished: RunResult) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESCORE, str(finished.folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (finished.folder / "index.html").is_file()


def test_a_rescore_works_without_the_cases(finished: RunResult, tmp_path: Path) -> None:
    (tmp_path / "cases").rename(tmp_path / "gone")
    moved = finished.folder.rename(tmp_path / "moved")
    assert rescore(moved).rows == finished.rows


@pytest.mark.parametrize("damage", ["", "text"])
def test_a_rescore_of_a_damaged_run_leaves_its_rows(finished: RunResult, damage: str) -> None:
    rerun = finished.folder / str(by_name(finished)["a"].images.rerun)
    rerun.write_text(damage) if damage else rerun.unlink()
    with pytest.raises(HarnessError, match=r"rerun\.png"):
        rescore(finished.folder)
    assert load_run(finished.folder).rows == finished.rows

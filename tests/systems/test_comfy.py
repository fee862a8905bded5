"""Runs on a ComfyUI: its API, its faults, and what its cache must not answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.comparison.compare import compare
from harness.comparison.system_image import system_image
from harness.errors import CaseError, HarnessError, ServerError
from harness.runs.plan import RunOptions
from harness.runs.run import run_cases
from harness.schema.case import Case, save_case
from harness.schema.result import Verdict
from harness.sweeps.grid import parse_axis, product
from harness.sweeps.sweep import sweep_cases
from harness.systems import comfy_client
from tests.systems.comfy_server import ComfyServer
from tests.systems.loopback import restarting

MakeCases = Callable[[int], list[Case]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on a server soon."""
    monkeypatch.setattr(comfy_client.ComfyClient.__init__, "__kwdefaults__", {"patience": 0.3})


@pytest.fixture
def cases(make_cases: MakeCases) -> list[Case]:
    return make_cases(2)


@pytest.fixture
def comfy(tmp_path: Path, jobs: dict[str, Path]) -> Iterator[ComfyServer]:
    """A ComfyUI on loopback that has the cases' LoRA."""
    found = ComfyServer(tmp_path / "comfy")
    shutil.copy(jobs["inkprint"] / "emoji_inkprint_000000200.safetensors", tmp_path / "comfy" / "loras")
    yield found
    found.close()


def on(comfy: ComfyServer | str, **options: Any) -> RunOptions:
    url = comfy if isinstance(comfy, str) else comfy.url
    return RunOptions(device="cpu", comfy=url, **options)


def test_rows_say_that_comfyui_made_them_and_score_as_in_process(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path
) -> None:
    local = run_cases(cases, out=tmp_path / "local", options=RunOptions(device="cpu"))
    remote = run_cases(cases, out=tmp_path / "remote", options=on(comfy))
    assert [row.scores for row in remote.rows] == [row.scores for row in local.rows]
    assert [row.image_sha256 for row in remote.rows] == [row.image_sha256 for row in local.rows]
    row = remote.rows[0]
    assert row.rendered is not None
    assert (row.rendered.pipeline, row.rendered.base) == ("ComfyUI 0.3.64", "Flex.2-preview.safetensors")
    assert row.environment["server"] == {
        "host": f"127.0.0.1:{comfy.port}", "comfyui": "0.3.64", "torch": "2.9.1",
    }  # fmt: skip


def test_the_same_workflow_is_sampled_again_and_not_taken_from_the_cache(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path
) -> None:
    for name in ("first", "second"):
        run_cases(cases[:1], out=tmp_path / name, options=on(comfy))
    assert comfy.sampled == 2


def test_a_comfyui_that_restarts_costs_no_row(
    comfy: ComfyServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    cases = make_cases(8)
    with restarting(comfy, 3, every=2):
        result = run_cases(cases, out=tmp_path / "run", options=on(comfy))
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == len(result.rows) == 8
    assert {row.verdict for row in result.rows} <= {Verdict.MATCH, Verdict.DRIFT}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:700])


def fail(_file: Path) -> None:
    raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "ComfyUI's image is truncated or cannot be read"),
        (fail, "ComfyUI failed: KSampler: CUDA out of memory"),
        (lambda file: file.write_text("<html>"), "ComfyUI's image is a web page"),
    ],
)
def test_a_render_that_fails_is_an_error_of_its_case(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    comfy.spoil = spoil
    (row,) = run_cases(cases[:1], out=tmp_path / "run", options=on(comfy)).rows
    assert row.verdict is Verdict.ERROR
    assert said in row.reason


def test_a_file_that_comfyui_lacks_is_one_line_and_can_be_named(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path
) -> None:
    comfy.unets = ("mine-fp8.safetensors",)
    said = r"refuses POST /prompt with 400: UNETLoader: Value not in list \(unet_name: 'Flex\.2-preview"
    with pytest.raises(ServerError, match=said):
        run_cases(cases[:1], out=tmp_path / "run", options=on(comfy))
    named = on(comfy, comfy_file=("unet_name=mine-fp8.safetensors",))
    (row,) = run_cases(cases[:1], out=tmp_path / "named", options=named).rows
    assert row.rendered is not None
    assert row.rendered.base == "mine-fp8.safetensors"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"comfy": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"comfy": "127.0.0.1:8188"}, "--comfy: '127.0.0.1:8188' is no address; give http://HOST:PORT"),
        ({"comfy_file": ("unet=x",)}, "--comfy-file: found 'unet'; give NAME=FILE, NAME one of unet_name,"),
        ({"comfy_file": ("vae_name",)}, "--comfy-file: found 'vae_name'"),
        ({"server": "http://127.0.0.1:9"}, "--comfy: cannot be combined with --server"),
        ({"dtype": "fp32"}, "--dtype: cannot be combined with --comfy"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_written(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(HarnessError) as caught:
        run_cases(cases, out=tmp_path / "run", options=on(**{"comfy": comfy, **options}))
    assert said in str(caught.value)
    assert comfy.posts == []
    assert not (tmp_path / "run").exists()


def test_a_file_for_comfyui_needs_one(cases: list[Case], tmp_path: Path) -> None:
    options = RunOptions(device="cpu", comfy_file=("vae_name=x",))
    with pytest.raises(HarnessError, match="--comfy-file: needs --comfy; give --comfy URL too"):
        run_cases(cases, out=tmp_path / "run", options=options)


def test_out_of_order_for_a_moment_and_for_good(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path
) -> None:
    left = iter((500, 502))
    comfy.fault = lambda path: next(left, None) if path == "/prompt" else None
    (row,) = run_cases(cases[:1], out=tmp_path / "run", options=on(comfy)).rows
    assert row.verdict is not Verdict.ERROR
    comfy.fault = lambda path: 503 if path.startswith("/history") else None
    with pytest.raises(ServerError, match=r"was away for 0.3 s \(it answered 503\); repeat the command"):
        run_cases(cases, out=tmp_path / "other", options=on(comfy))


def test_what_a_workflow_cannot_say_is_refused_before_it_is_sent(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path
) -> None:
    with pytest.raises(CaseError, match="ComfyUI cannot be asked for scheduler UniPC"):
        sweep_cases(cases, product([parse_axis("scheduler=UniPC")]), out=tmp_path / "run", options=on(comfy))
    legacy = save_case(cases[0].model_copy(update={"noise": "legacy"}), cases[0].folder / "s000.case.yaml")
    with pytest.raises(CaseError, match="cannot be rendered there: ComfyUI cannot be asked for noise legacy"):
        system_image(legacy, on(comfy), tmp_path / "image")
    assert comfy.posts == []


def test_its_own_image_is_compared_by_the_workflow_that_it_holds(
    comfy: ComfyServer, cases: list[Case], tmp_path: Path
) -> None:
    made = system_image(cases[0], on(comfy), tmp_path / "image")
    found = compare(cases[0], made.image, request=made.beside, static=True)
    assert found.image.settings.tool.value == "comfyui"
    assert [row.setting for row in found.differences] == []
    assert json.loads(json.dumps(found.to_json()))["unknown"] == []

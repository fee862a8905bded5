"""Runs on a reference server: the same rows as in process, every row once, whatever the server does."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.errors import CaseError, HarnessError
from harness.judging.drift_origin import drift_origin
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions
from harness.runs.rescore import rescore
from harness.runs.run import run_cases
from harness.schema.case import Case, save_case
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row, Verdict
from harness.sweeps.grid import parse_axis, product
from harness.sweeps.sweep import sweep_cases
from tests.systems.loopback import restarting
from tests.systems.reference_server import ReferenceServer

MakeCases = Callable[[int], list[Case]]


class AsServerSaves(ReferenceRenderer):
    """Our own pipeline, whose image is saved and read again as the server does."""

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        made = super().render(request, on_step)
        file = io.BytesIO()
        Image.fromarray(made.image).save(file, "JPEG", quality=95)
        return replace(made, image=np.array(Image.open(file), dtype=np.uint8))


def on(server: ReferenceServer, **options: Any) -> RunOptions:
    return RunOptions(device="cpu", server=server.url, **options)


def judged(row: Row) -> dict[str, Any]:
    """Return what a row says, but for who rendered it and how long it took."""
    said = row.model_dump(
        exclude={"rendered", "seconds", "environment", "latents_sha256", "key", "render_key"}
    )
    said["images"].pop("latents", None)  # a server sends none
    return said


def test_rows_are_those_of_a_run_in_process(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    cases = make_cases(4)
    local = run_cases(
        cases, out=tmp_path / "local", options=RunOptions(device="cpu"), renderer=AsServerSaves(device="cpu")
    )
    remote = run_cases(cases, out=tmp_path / "remote", options=on(server))
    assert [judged(row) for row in remote.rows] == [judged(row) for row in local.rows]
    assert len(server.posts) == 4
    (row, *_) = remote.rows
    assert row.rendered is not None
    assert (row.rendered.pipeline, row.rendered.base) == ("server flex2", "ostris/Flex.2-preview")
    assert row.rendered.device == f"server 127.0.0.1:{server.port}"
    assert (row.rendered.noise, row.rendered.dtype, row.rendered.sigmas) == ("unknown", "unknown", [])
    assert row.environment["server"]["models"] == {"flex2": "ostris/Flex.2-preview"}
    again = run_cases(cases, out=tmp_path / "remote", options=on(server))
    assert again.rows == remote.rows
    assert len(server.posts) == 4, "rows that are there are not asked for again"


def test_a_server_that_restarts_costs_no_row_and_doubles_none(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    cases = make_cases(12)
    with restarting(server, 5, every=2):
        result = run_cases(cases, out=tmp_path / "run", options=on(server))
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    assert len(lines) == len(result.rows) == 12
    assert {row.verdict for row in result.rows} <= {Verdict.MATCH, Verdict.DRIFT}
    assert server.forgotten > 0, "no request was lost: the restarts tested nothing"
    assert len(server.posts) > 12


def test_steps_and_multiplier_of_a_sweep_reach_the_server(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    variants = product([parse_axis("steps=1,3")])
    result = sweep_cases(make_cases(1), variants, out=tmp_path / "run", options=on(server))
    assert [row.variant for row in result.rows] == ["reference", "steps=1", "steps=3"]
    assert sorted(body["prompts"][0]["sample_steps"] for body in server.posts) == [1, 2, 3]


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("scheduler=UniPC", "the server cannot be asked for scheduler UniPC"),
        ("noise=legacy", "the server cannot be asked for noise legacy"),
        ("base_shift=0.3", "the server cannot be asked for shift base_shift=0.3"),
        ("lora_mode=none", "the server cannot be asked for lora_mode none"),
    ],
)
def test_what_a_server_cannot_be_asked_for_is_refused_before_anything_is_sent(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path, axis: str, said: str
) -> None:
    with pytest.raises(CaseError, match=said):
        sweep_cases(make_cases(1), product([parse_axis(axis)]), out=tmp_path / "run", options=on(server))
    assert server.posts == []
    assert not (tmp_path / "run").exists()


def test_cases_that_a_server_cannot_render_say_why_and_the_others_run(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    first, second, third = make_cases(3)
    bare = save_case(second.model_copy(update={"lora": None}), second.folder / "s001.case.yaml")
    legacy = save_case(third.model_copy(update={"noise": "legacy"}), third.folder / "s002.case.yaml")
    rows = run_cases([first, bare, legacy], out=tmp_path / "run", options=on(server)).rows
    reasons = {row.case: row.reason for row in rows if row.verdict is Verdict.INCOMPARABLE}
    assert reasons == {
        bare.id: "the server renders with a LoRA only",
        legacy.id: "the server cannot be asked for noise legacy",
    }
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    "options", [{"pipeline": "builtin"}, {"dtype": "fp32"}, {"gpus": ("0",)}, {"ray": "auto"}]
)
def test_options_that_only_a_render_here_can_take(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(HarnessError, match="cannot be combined with --server"):
        run_cases(make_cases(1), out=tmp_path / "run", options=on(server, **options))


def test_a_comparison_needs_a_server(make_cases: MakeCases, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="--against-reference: needs --server or --comfy"):
        run_cases(make_cases(1), out=tmp_path / "run", options=RunOptions(against_reference=True))


def test_against_the_reference_a_row_says_whose_drift_it_is(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    server.guidance, server.drifts = 3.0, lambda prompt: prompt["seed"] == 1
    options = on(server, against_reference=True, score_workers=1)
    same, other = run_cases(make_cases(2), out=tmp_path / "run", options=options).rows
    assert "the drift comes from the settings: the server's image is the reference's, bit for" in same.reason
    assert "the drift comes from the server: the server's image differs from the reference's" in other.reason
    assert [drift_origin(row) for row in (same, other)] == ["settings", "server"]
    again = rescore(tmp_path / "run").rows
    assert [row.reason for row in again] == [same.reason, other.reason], "scoring again says it again"


def test_polling_goes_on_for_a_slow_render(
    server: ReferenceServer, make_cases: MakeCases, tmp_path: Path
) -> None:
    server.spoil = lambda _image: time.sleep(0.4)
    (row,) = run_cases(make_cases(1), out=tmp_path / "run", options=on(server)).rows
    assert row.verdict is not Verdict.ERROR
    assert row.seconds["render"] > 0.4

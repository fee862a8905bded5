"""Nothing is rendered twice: a run takes what one beside it holds, if all behind it is the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness.errors import CheckpointError
from harness.metrics.images import load_rgb, save_png
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import plan
from harness.runs.render_cache import RenderKeys
from harness.runs.results import load_run
from harness.runs.run import run_cases
from harness.runs.stored_renders import StoredRenders
from harness.schema.base import Base
from harness.schema.render import OnStep, Render, RenderRequest
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that the reference pipeline really rendered."""
    seeds: list[int] = []
    real = ReferenceRenderer.render

    def render(self: ReferenceRenderer, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        seeds.append(request.seed)
        return real(self, request, on_step)

    monkeypatch.setattr(ReferenceRenderer, "render", render)
    return seeds


def test_a_second_run_takes_the_renders_of_the_first(
    make_case: MakeCase, tmp_path: Path, made: list[int]
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(2)]
    first = run_cases(cases, out=tmp_path / "runs/first", options=CPU)
    assert made == [0, 1]
    other = make_case("s2", settings={"seed": 2})
    second = run_cases([*cases, other], out=tmp_path / "runs/second", options=CPU)
    assert made == [0, 1, 2]
    assert [row.taken_from for row in second.rows] == ["first", "first", None]
    for old, new in zip(first.rows, second.rows, strict=False):
        assert (new.scores, new.raw, new.rendered) == (old.scores, old.raw, old.rendered)
        assert new.image_sha256 == old.image_sha256
        assert (tmp_path / "runs/second" / str(new.images.rerun)).is_file()

    damaged = tmp_path / "runs/first" / str(first.rows[0].images.rerun)
    save_png(damaged, load_rgb(damaged) ^ np.uint8(1))
    (tmp_path / "runs/second/results.jsonl").unlink()
    third = run_cases(cases, out=tmp_path / "runs/third", options=CPU)
    assert made == [0, 1, 2, 0], "a kept image with other pixels than its row says is not taken"
    assert third.rows[0].scores == first.rows[0].scores

    fresh = run_cases(cases, out=tmp_path / "runs/third", options=dataclasses.replace(CPU, fresh=True))
    assert made[4:] == [0, 1]
    assert [row.taken_from for row in fresh.rows] == [None, None]


def test_one_render_serves_every_case_of_a_run_that_asks_for_it(
    make_case: MakeCase, tmp_path: Path, made: list[int]
) -> None:
    result = run_cases([make_case("a"), make_case("b")], out=tmp_path / "run", options=CPU)
    assert made == [5]
    assert [row.taken_from for row in result.rows] == [None, "run"]
    assert len({row.image_sha256 for row in result.rows}) == 1


def test_the_key_holds_everything_that_decides_the_pixels(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    (planned,) = plan([make_case("a", lora=200)], CPU, "cpu")
    request = planned.request
    assert request is not None
    assert request.lora is not None
    name = str(request.base)
    keys = RenderKeys({name: "r1"}, {"torch": "2.14"})
    changed = {
        "prompt": keys.of(dataclasses.replace(request, prompt="other")),
        "seed": keys.of(dataclasses.replace(request, seed=6)),
        "multiplier": keys.of(
            dataclasses.replace(request, lora=dataclasses.replace(request.lora, network_multiplier=0.5))
        ),
        "attention": keys.of(dataclasses.replace(request, attention="_native_math")),
        "revision": RenderKeys({name: "r2"}, {"torch": "2.14"}).of(request),
        "environment": RenderKeys({name: "r1"}, {"torch": "2.11"}).of(request),
    }
    monkeypatch.setenv("DIFFUSERS_ATTN_BACKEND", "_native_math")
    changed["backend"] = keys.of(request)
    monkeypatch.delenv("DIFFUSERS_ATTN_BACKEND")
    monkeypatch.setattr("harness.runs.render_cache.code_sha256", lambda: "other code")
    changed["code"] = keys.of(request)
    monkeypatch.undo()
    assert len({keys.of(request), *changed.values()}) == len(changed) + 1
    moved = dataclasses.replace(
        request,
        base=Base(path="/elsewhere"),
        lora=dataclasses.replace(request.lora, file=Path("/elsewhere/lora.safetensors")),
    )
    assert RenderKeys({str(moved.base): "r1"}, {"torch": "2.14"}).of(moved) == keys.of(request)


def test_a_render_of_another_revision_than_was_checked_is_not_stored(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ReferenceRenderer.render

    def other(self: ReferenceRenderer, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        made = real(self, request, on_step)
        return dataclasses.replace(made, rendered=made.rendered.model_copy(update={"revision": "other"}))

    monkeypatch.setattr(ReferenceRenderer, "render", other)
    with pytest.raises(CheckpointError, match="rendered with revision other, but content:"):
        run_cases([make_case("a")], out=tmp_path / "run", options=CPU)
    assert load_run(tmp_path / "run").rows == []


def test_neighbours_that_cannot_be_read_hold_nothing(
    make_case: MakeCase, tmp_path: Path, made: list[int]
) -> None:
    run_cases([make_case("a")], out=tmp_path / "runs/first", options=CPU)
    (row,) = load_run(tmp_path / "runs/first").rows
    results = tmp_path / "runs/first/results.jsonl"
    results.write_text(results.read_text().replace('"verdict"', '"verdct"'))
    assert StoredRenders(tmp_path / "runs/second", [str(row.render_key)]).find(str(row.render_key)) is None
    run_cases([make_case("a")], out=tmp_path / "runs/second", options=CPU)
    assert made == [5, 5]

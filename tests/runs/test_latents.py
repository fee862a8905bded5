"""Latents beside images, kept with what is accepted and compared with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from harness.calibration.controls import OTHER_ATTENTION
from harness.judging.baseline_store import LATENTS, BaselineStore
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.accept import accept_run
from harness.runs.run import run_cases
from harness.schema.case import Case
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row
from tests.runs.counting import CPU


class OtherKernel(ReferenceRenderer):
    """The reference pipeline on a night on which torch chooses another attention kernel."""

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        return super().render(dataclasses.replace(request, attention=OTHER_ATTENTION), on_step)


def only(rows: list[Row]) -> Row:
    (row,) = rows
    return row


def test_a_change_is_placed_and_measured_by_its_latents(
    make_case: Callable[..., Case], tmp_path: Path
) -> None:
    case, root = make_case("a"), tmp_path / "baselines"
    first = run_cases([case], out=tmp_path / "first", options=CPU)
    assert only(first.rows).images.latents is not None
    accept_run(tmp_path / "first", [], root=root, reason="looked at it")
    held = dataclasses.replace(CPU, baselines=root)
    same = only(run_cases([case], out=tmp_path / "same", options=held).rows).baseline
    assert same is not None
    assert (same.identical, same.latents_identical, same.latent_distance) == (True, True, None)
    changed = only(
        run_cases([case], out=tmp_path / "b", options=held, renderer=OtherKernel(device="cpu")).rows
    )
    assert changed.baseline is not None
    distance = changed.baseline.latent_distance
    assert distance is not None
    assert 0 < distance.relative_l2 < 0.1
    assert distance.cosine > 0.99
    assert f"(relative L2 {distance.relative_l2:.4f}, cosine" in changed.reason
    assert "it changed before decoding" in changed.reason
    other = dataclasses.replace(held, dtype="fp32")
    wrong = only(run_cases([case], out=tmp_path / "c", options=other).rows).baseline
    assert wrong is not None


def test_latents_are_left_out_where_that_is_asked_and_damaged_ones_are_named(
    make_case: Callable[..., Case], tmp_path: Path
) -> None:
    case, root = make_case("a"), tmp_path / "baselines"
    without = dataclasses.replace(CPU, keep_latents=False)
    assert only(run_cases([case], out=tmp_path / "without", options=without).rows).images.latents is None
    assert not list((tmp_path / "without").rglob(f"*{LATENTS}"))
    run_cases([case], out=tmp_path / "first", options=dataclasses.replace(CPU, fresh=True))
    accept_run(tmp_path / "first", [], root=root, reason="looked at it")
    (kept,) = root.rglob(f"*{LATENTS}")
    kept.write_bytes(b"damaged")
    held = dataclasses.replace(CPU, baselines=root)
    changed = only(
        run_cases([case], out=tmp_path / "b", options=held, renderer=OtherKernel(device="cpu")).rows
    )
    assert changed.baseline is not None
    assert changed.baseline.latent_distance is None
    assert (
        f"(how far is not known: the baseline's {kept.relative_to(root)} cannot be read: restore"
        in changed.reason
    )
    accept_run(tmp_path / "without", [], root=root, reason="without latents")
    assert not list(root.rglob(f"*{LATENTS}"))
    ((entry,),) = BaselineStore(root).entries(case.id).values()
    assert entry.latents is None

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import BaselineError
from harness.judging.baseline import Entry, entry_of, environment_key
from harness.judging.baseline_judging import against_baseline
from harness.judging.baseline_store import BaselineStore
from harness.judging.verdict import DEFAULT_TOLERANCE, OTHER_ENVIRONMENT, SAME_ENVIRONMENT, judge
from harness.metrics.scores import PixelStats, Scores, Tile
from harness.runs.accept import accept_row, accept_run
from harness.runs.folder import MANIFEST, RESULTS
from harness.runs.rescore import judge_again
from harness.schema.case import Base, Case, Preview, SampleSettings
from harness.schema.result import Images, Rendered, Row, Verdict

CPU: dict[str, Any] = {"platform": "Linux x86_64", "cpu": "AVX512", "packages": {"torch": "2.14.1"}}
XEON: dict[str, Any] = {**CPU, "cpu_bf16": "amx_bf16"}
H100: dict[str, Any] = {"platform": "Linux x86_64", "gpu": {"name": "NVIDIA H100 80GB HBM3"}}
RENDERED = Rendered(
    width=64, height=64, steps=2, seed=0, guidance_scale=4.0, sigmas=[1.0, 0.5, 0.0], sigmas_sha256="5" * 64,
    dtype="bf16", noise="current", attention="native", device="cpu", offload="none", pipeline="builtin",
    pipeline_sha256="6" * 64, lora_mode="none", lora_sha256=None, network_multiplier=None,
    base="embedded:tiny-flex2-emoji", revision="content:1",
)  # fmt: skip


def scores(ssim: float, lpips: float = 0.001, psnr: float | None = 45.0) -> Scores:
    tile = Tile(x=0, y=0, size=64, mean_abs=0.5)
    pixels = PixelStats(identical=psnr is None, max_abs=9, mean_abs=0.5, changed=0.5, worst_tile=tile)
    return Scores(ssim=ssim, lpips=lpips, psnr=psnr, pixels=pixels)


def row(
    found: Scores | None = None,
    *,
    image: str | None = "a",
    environment: dict[str, Any] = CPU,
    **rendered: Any,
) -> Row:
    found = found or scores(0.995)
    verdict, reason = judge(found, DEFAULT_TOLERANCE)
    settings = SampleSettings(prompt="a cat", width=64, height=64, seed=0, sample_steps=2)
    case = Case(
        id="job/0",
        base=Base(embedded="tiny-flex2-emoji"),
        preview=Preview(file="0.png", sha256="1" * 64, width=64, height=64),
        settings=settings,
    )
    return Row(
        case=case.id,
        verdict=verdict,
        reason=reason,
        **found.model_dump(),
        settings={**settings.model_dump(), "network_multiplier": None},
        rendered=RENDERED.model_copy(update=rendered),
        environment=environment,
        tolerance=DEFAULT_TOLERANCE,
        images=Images(preview="p.png", rerun="r.png"),
        image_sha256=image and image * 64,
        description=case,
        key="k",
    )


def accepted(like: Row) -> dict[str, Entry]:
    entry = entry_of(
        like, accepted="2026-11-23T00:00:00+00:00", accepted_by="a person", reason="looked at it"
    )
    return {environment_key(like.environment): entry}


def test_the_key_names_the_hardware_and_no_version() -> None:
    assert environment_key(H100) == "cuda-nvidia-h100-80gb-hbm3"
    assert environment_key(CPU) == environment_key({**CPU, "packages": {"torch": "9"}, "threads": 8})
    assert environment_key(CPU) != environment_key({**CPU, "cpu": "AVX2"})


def test_bit_equal_is_said_first() -> None:
    judged = against_baseline(row(), accepted(row()))
    assert judged.verdict is Verdict.MATCH
    assert judged.reason.startswith("bit-equal to its baseline")


def test_a_changed_image_within_limits_is_never_silent() -> None:
    changed = row(scores(0.994), image="b", attention="flash", environment={**CPU, "threads": 4})
    judged = against_baseline(changed, accepted(row()))
    assert judged.verdict is Verdict.MATCH
    assert judged.reason.startswith("match (changed)")
    assert "attention native → flash" in judged.reason
    assert "threads none → 4" in judged.reason


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (scores(0.9769), "SSIM 0.9769 was 0.9950 (margin 0.018)"),
        (scores(0.995, lpips=0.0051), "LPIPS 0.0051 was 0.0010"),
        (scores(0.995, psnr=35.9), "PSNR 35.9 was 45.0"),
        (scores(float("nan")), "SSIM nan was"),
    ],
)
def test_worse_by_more_than_the_margin_is_a_regression(now: Scores, said: str) -> None:
    judged = against_baseline(row(now, image="b"), accepted(row()))
    assert judged.verdict is Verdict.REGRESSION
    assert said in judged.reason


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("c", "c", "the latents are the accepted ones, the decoded image is not"),
        ("c", "d", "the latents are not the accepted ones: it changed before decoding"),
        (None, "d", "the image is not the accepted one"),
        ("c", None, "the image is not the accepted one"),
    ],
)
def test_the_latents_tell_denoising_from_decoding(before: str | None, now: str | None, said: str) -> None:
    entries = accepted(row().model_copy(update={"latents_sha256": before}))
    changed = row(scores(0.994), image="b").model_copy(update={"latents_sha256": now})
    judged = against_baseline(changed, entries)
    assert judged.verdict is Verdict.MATCH
    assert said in judged.reason
    worse = row(scores(0.976), image="b").model_copy(update={"latents_sha256": now})
    regressed = against_baseline(worse, entries)
    assert regressed.verdict is Verdict.REGRESSION
    assert said in regressed.reason


def test_an_equal_image_from_other_latents_is_said() -> None:
    entries = accepted(row().model_copy(update={"latents_sha256": "c"}))
    judged = against_baseline(row().model_copy(update={"latents_sha256": "d"}), entries)
    assert judged.reason.startswith("bit-equal to its baseline (its latents are not)")


def test_an_accepted_drift_stays_a_drift_and_is_known() -> None:
    drifted = row(scores(0.9, psnr=30.0))
    judged = against_baseline(drifted, accepted(drifted))
    assert judged.verdict is Verdict.DRIFT
    assert judged.known
    better = against_baseline(row(image="b"), accepted(drifted))
    assert better.verdict is Verdict.MATCH
    assert not better.known


def test_without_a_baseline_a_match_is_incomparable_and_a_drift_stays() -> None:
    assert against_baseline(row(), {}).verdict is Verdict.INCOMPARABLE
    assert against_baseline(row(scores(0.9)), {}).verdict is Verdict.DRIFT


def test_another_environment_has_a_wider_margin() -> None:
    entries = accepted(row())
    within = row(scores(0.988), image="b", environment=H100, device="cuda")
    judged = against_baseline(within, entries)
    assert judged.verdict is Verdict.MATCH
    assert judged.baseline is not None
    assert not judged.baseline.same_environment
    assert "baseline of cpu-linux-x86-64-avx512" in judged.reason
    beyond = row(scores(0.995 - OTHER_ENVIRONMENT.ssim - 0.001), image="b", environment=H100)
    assert against_baseline(beyond, entries).verdict is Verdict.REGRESSION
    assert SAME_ENVIRONMENT.ssim < OTHER_ENVIRONMENT.ssim


def test_of_several_other_machines_the_strictest_baseline_counts() -> None:
    """The most lenient would be the nearest: a regression could hide behind it."""
    lenient, strict = row(scores(0.96)), row(scores(0.995), environment=XEON)
    regressed = row(scores(0.95), image="b", environment=H100)
    assert against_baseline(regressed, accepted(lenient)).verdict is Verdict.DRIFT
    judged = against_baseline(regressed, accepted(lenient) | accepted(strict))
    assert judged.verdict is Verdict.REGRESSION
    assert f"worse than its baseline of {environment_key(XEON)}" in judged.reason


def test_no_metric_hides_behind_a_baseline_with_a_better_ssim() -> None:
    better_ssim, better_lpips = row(scores(0.995, lpips=0.009)), row(scores(0.99), environment=XEON)
    blurred = row(scores(0.994, lpips=0.02), image="b", environment=H100)
    judged = against_baseline(blurred, accepted(better_ssim) | accepted(better_lpips))
    assert judged.verdict is Verdict.REGRESSION
    assert "LPIPS 0.0200 was 0.0010 (margin 0.0145)" in judged.reason


def test_a_drift_accepted_on_one_other_machine_is_not_accepted_where_another_accepted_a_match() -> None:
    known, matched = row(scores(0.96)), row(scores(0.98), environment=XEON)
    now = row(scores(0.955), image="b", environment=H100)
    assert against_baseline(now, accepted(known)).known
    assert not against_baseline(now, accepted(known) | accepted(matched)).known


def test_the_very_image_that_another_machine_accepted_is_no_regression() -> None:
    known, matched = row(scores(0.9)), row(scores(0.995), image="b", environment=XEON)
    judged = against_baseline(row(scores(0.9), environment=H100), accepted(known) | accepted(matched))
    assert judged.reason.startswith("bit-equal to its baseline")
    assert judged.known


def test_another_machines_baseline_of_the_case_before_it_was_edited_is_passed_over() -> None:
    (current,) = accepted(row(scores(0.99))).items()
    ((machine, entry),) = accepted(row(environment=XEON)).items()
    stale = entry.model_copy(update={"settings": {**entry.settings, "seed": 7}})
    now = row(image="b", environment=H100)
    assert against_baseline(now, {machine: stale}).verdict is Verdict.INCOMPARABLE
    assert against_baseline(now, dict([current, (machine, stale)])).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    ("unsound", "said"),
    [({"dtype": "fp16"}, "dtype bf16 → fp16"), ({"noise": "legacy"}, "noise current → legacy")],
)
def test_another_environment_and_another_computation_cannot_be_compared(
    unsound: dict[str, str], said: str
) -> None:
    judged = against_baseline(row(image="b", environment=H100, **unsound), accepted(row()))
    assert judged.verdict is Verdict.INCOMPARABLE
    assert judged.reason.startswith(
        "no baseline for cuda-nvidia-h100-80gb-hbm3, and none that can be compared "
        f"(cpu-linux-x86-64-avx512: {said}); against its preview: match"
    )


def test_an_edited_case_is_not_the_accepted_one() -> None:
    now = row()
    now = now.model_copy(update={"settings": {**now.settings, "seed": 7}})
    judged = against_baseline(now, accepted(row()))
    assert judged.verdict is Verdict.INCOMPARABLE
    assert "seed 0 → 7" in judged.reason
    assert judged.baseline is None


def test_an_error_stays_an_error_and_is_never_accepted(tmp_path: Path) -> None:
    failed = row().model_copy(update={"verdict": Verdict.ERROR, "reason": "the pipeline failed"})
    assert against_baseline(failed, accepted(row())).verdict is Verdict.ERROR
    assert accept_row(failed, BaselineStore(tmp_path), reason="no") is None
    assert not list(tmp_path.iterdir())


def test_entries_of_several_environments_stand_beside_each_other(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path)
    accept_row(row(environment=H100), store, reason="gpu")
    path = accept_row(row(), store, reason="cpu")
    assert path == tmp_path / "job/0.json"
    assert sorted(store.entries("job/0")) == ["cpu-linux-x86-64-avx512", "cuda-nvidia-h100-80gb-hbm3"]
    text = path.read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    before = path.read_bytes()
    assert accept_row(row(), store, reason="again", new_only=True) is None
    assert path.read_bytes() == before


def test_accepting_a_regression_accepts_its_scores(tmp_path: Path) -> None:
    worse = against_baseline(row(scores(0.98), image="b"), accepted(row(scores(0.999))))
    assert worse.verdict is Verdict.REGRESSION
    store = BaselineStore(tmp_path)
    accept_row(worse, store, reason="new torch, looked at it")
    assert against_baseline(row(scores(0.98), image="b"), store.entries("job/0")).verdict is Verdict.MATCH


def test_accept_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / MANIFEST).write_text('{"identity": {}}')
    (run / RESULTS).write_text(row().model_dump_json() + "\n")
    with pytest.raises(BaselineError, match="needs a reason"):
        accept_run(run, [], root=tmp_path / "b", reason=" ")
    with pytest.raises(BaselineError, match="no case of this run matches 'other/\\*'"):
        accept_run(run, ["other/*"], root=tmp_path / "b", reason="x")
    done = accept_run(run, ["job/*"], root=tmp_path / "b", reason="looked at it", accepted_by="me")
    assert done.written == [tmp_path / "b/job/0.json"]
    again = accept_run(run, [], root=tmp_path / "b", reason="x", new_only=True)
    assert again.passed_over == {"job/0": "has a baseline already"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"case": "job/1", "entries": {}}', "is the baseline of 'job/1'"),
        ('{"case": "job/0", "entris": {}}', "entries"),
    ],
)
def test_a_damaged_baseline_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job/0.json").write_text(text)
    with pytest.raises(BaselineError) as caught:
        BaselineStore(tmp_path).entries("job/0")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_orphans_are_looked_for_where_cases_are_known(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path)
    for name in ("job/0", "job/1", "other/0"):
        path = store.path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    assert store.orphans(["job/0"], everything=False) == ["job/1"]
    assert store.orphans(["job/0"], everything=True) == ["job/1", "other/0"]


@given(now=st.floats(-1, 1), before=st.floats(-1, 1))
def test_a_regression_is_exactly_a_loss_beyond_the_margin(now: float, before: float) -> None:
    judged = against_baseline(row(scores(now), image="b"), accepted(row(scores(before))))
    assert (judged.verdict is Verdict.REGRESSION) == (round(before, 6) - now > SAME_ENVIRONMENT.ssim)


def test_the_command_accepts_and_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / MANIFEST).write_text('{"identity": {}}')
    (run / RESULTS).write_text(row().model_dump_json() + "\n")
    arguments = ["accept", "run", "job/0", "--reason", "looked at it", "--by", "a person"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "accepted baselines/job/0.json\n1 accepted, 0 passed over" in done.output
    again = CliRunner().invoke(app, [*arguments, "--new-only"])
    assert "passed over job/0: has a baseline already" in again.output
    refused = CliRunner().invoke(app, ["accept", "run"])
    assert isinstance(refused.exception, BaselineError)
    assert refused.exception.field == "--reason"


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (60.0, 45.0, Verdict.MATCH),
        (None, 45.0, Verdict.MATCH),
        (None, 38.9, Verdict.REGRESSION),
        (48.1, 38.9, Verdict.REGRESSION),
        (48.1, None, Verdict.MATCH),
    ],
)
def test_a_psnr_that_nobody_sees_is_no_loss(
    before: float | None, now: float | None, verdict: Verdict
) -> None:
    judged = against_baseline(
        row(scores(0.995, psnr=now), image="b"), accepted(row(scores(0.995, psnr=before)))
    )
    assert judged.verdict is verdict
    if verdict is Verdict.REGRESSION:
        assert f"PSNR 38.9 was {before or 'inf'} (margin 9)" in judged.reason


def test_a_rescored_row_keeps_to_its_baseline() -> None:
    worse = against_baseline(row(scores(0.98), image="b"), accepted(row(scores(0.999))))
    assert judge_again(worse, DEFAULT_TOLERANCE).verdict is Verdict.REGRESSION

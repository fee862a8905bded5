"""The numbers and sentences behind the page."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.case_view import CaseView
from harness.report.formatting import script_json, slug
from harness.report.measures import codec_sentence, measures, severity
from harness.report.overview import WORST_FIRST, overview
from harness.report.settings_table import (
    Setting,
    assumptions,
    baseline_environment,
    environment_changes,
    flat_words,
    provenance,
    settings,
)
from harness.report.sigma_chart import curve
from harness.schema.case_parts import SampleSettings, Trained
from harness.schema.metric_limits import Tolerance
from harness.schema.result import Finding, Row, Verdict
from tests.report.report_runs import ENVIRONMENT, Run, accept_of, case_of, rendered_of, sample, scores_of

NAMES = st.text(st.sampled_from("abA-_./ +é@"), min_size=1, max_size=8)


@given(NAMES, NAMES)
def test_two_names_never_share_a_page(one: str, other: str) -> None:
    mine, theirs = slug(one, "reference"), slug(other, "reference")
    assert (mine.lower() == theirs.lower()) == (one == other)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", mine)


@given(st.text(min_size=200, max_size=300))
def test_no_name_is_too_long_for_a_disk(name: str) -> None:
    assert len(slug(name, "reference")) < 200


@given(st.dictionaries(st.text(), st.text()))
def test_json_in_a_script_is_the_same_and_ends_no_script(value: dict[str, str]) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_every_verdict_has_its_place() -> None:
    assert set(Verdict) <= set(WORST_FIRST)


def _row(run: Run, ssim: float, lpips: float, tolerance: Tolerance) -> Row:
    preview, rerun = sample(30, 0), sample(0, 0)
    scores = scores_of(preview, rerun, ssim=ssim, lpips=lpips)
    return run.compared(case_of(preview, "job/a"), preview, rerun, scores=scores, tolerance=tolerance)


@pytest.mark.parametrize(
    ("ssim", "lpips", "expected"),
    [(0.99, 0.005, 0.5), (0.98, 0.005, 1.0), (0.90, 0.005, 5.0), (0.99, 0.04, 2.0), (1.0, 0.0, 0.0)],
)
def test_severity_is_the_tightest_limit(run: Run, ssim: float, lpips: float, expected: float) -> None:
    tolerance = Tolerance(ssim_min=0.98, lpips_max=0.02, psnr_min=None, source="test")
    assert severity(_row(run, ssim, lpips, tolerance)) == pytest.approx(expected)


def test_a_limit_of_no_difference_at_all(run: Run) -> None:
    row = _row(run, 0.99, 0.01, Tolerance(ssim_min=1.0, lpips_max=0.0, psnr_min=None, source="strict"))
    assert [measure.used for measure in measures(row)[:3]] == ["∞", "∞", "–"]
    assert row.verdict is Verdict.DRIFT


def test_kept_limits_say_what_the_verdict_says(mixed: Run) -> None:
    for row in mixed.folder.done.values():
        missed = any(measure.kept is False for measure in measures(row))
        assert missed == (row.verdict is Verdict.DRIFT)


def test_the_codec_is_stated_apart(run: Run) -> None:
    tolerance = Tolerance(ssim_min=0.9, lpips_max=0.1, source="test")
    sentence = codec_sentence(_row(run, 0.99, 0.01, tolerance))
    assert sentence is not None
    assert sentence.startswith(
        "Of this drift, the preview's JPEG explains about 80 %: SSIM falls 0.0500 short"
    )


def test_a_lossless_preview_explains_nothing(run: Run) -> None:
    preview = sample(30, 0)
    row = run.compared(
        case_of(preview, "job/a"), preview, sample(0, 0), codec_floor=scores_of(preview, preview)
    )
    assert "explains none of this drift" in str(codec_sentence(row))


def test_settings_say_what_differs(run: Run) -> None:
    preview = sample(30, 0)
    case = case_of(
        preview,
        "job/a",
        settings=SampleSettings(prompt="x", width=136, height=128, seed=7, sample_steps=4, guidance_scale=4),
        trained=Trained(dtype="bfloat16", base="ostris/Flex.2-preview", quantize=True, qtype="qfloat8"),
    )
    rendered = rendered_of(case, seed=8, network_multiplier=0.5)
    row = run.compared(case, preview, sample(0, 0), rendered=rendered)
    states = {line.name: line.state for line in settings(row)}
    assert states == {
        "Size asked for": "differs",
        "Size": "same",
        "Steps": "same",
        "Guidance": "same",
        "Seed": "differs",
        "LoRA": "same",
        "LoRA multiplier": "differs",
        "Dtype": "same",
        "Transformer quantized": "differs",
        "Text encoder quantized": "same",
        "Noise era": "not recorded",
        "Base": "differs",
    }


def test_a_base_of_the_same_name_is_not_called_the_same(run: Run) -> None:
    row = run.compared(case_of(sample(30, 0), "job/a"), sample(30, 0), sample(0, 0))
    assert {line.name: line.state for line in settings(row)}["Base"] == "same name"


def test_only_a_changed_environment_is_repeated_per_row(run: Run) -> None:
    preview = sample(30, 0)
    same = run.compared(case_of(preview, "job/a"), preview, sample(20, 0))
    moved = {**ENVIRONMENT, "packages": {"torch": "2.11.0", "diffusers": "0.42.1"}}
    other = run.compared(case_of(preview, "job/b"), preview, sample(20, 0), environment=moved)
    changes = {row.case: environment_changes(row, flat_words(ENVIRONMENT)) for row in (same, other)}
    assert changes == {"job/a": (), "job/b": (Setting("packages.torch", "2.14.1", "2.11.0", "differs"),)}


def test_the_environment_stands_beside_the_baselines_what_differs_first(run: Run) -> None:
    preview, other = sample(30, 0), sample(20, 0)
    old = {**ENVIRONMENT, "packages": {"torch": "2.13.0", "diffusers": "0.42.1"}}
    case = case_of(preview, "job/a")
    rendered = rendered_of(case, attention="flash")
    accepted = accept_of(scores_of(preview, other), old, rendered_of(case))
    row = run.compared(case, preview, other, rendered=rendered, baseline=accepted)
    lines = baseline_environment(row)
    assert lines[:2] == (
        Setting("packages.torch", "2.13.0", "2.14.1", "differs"),
        Setting("rendered.attention", "native", "flash", "differs"),
    )
    assert {line.state for line in lines[2:]} == {"same"}
    assert "python" in {line.name for line in lines}


def test_the_first_page_counts_the_matches_that_are_not_the_accepted_image(run: Run) -> None:
    picture = sample(30, 0)
    changed = accept_of(scores_of(picture, picture), ENVIRONMENT, rendered_of(case_of(picture, "job/a")))
    held = {"job/a": changed, "job/b": changed.model_copy(update={"identical": True}), "job/c": None}
    rows = [
        run.compared(case_of(picture, name), picture, picture, baseline=baseline)
        for name, baseline in held.items()
    ]

    def told(*shown: Row) -> dict[str, str]:
        return {fact.name: fact.value for fact in overview(run.path, {}, list(shown)).facts}

    assert told(*rows)["Baselines"] == "1 of 2 bit-equal, 1 changed within limits"
    assert told(rows[1])["Baselines"] == "1 of 1 bit-equal"
    assert "Baselines" not in told(rows[2])


def test_what_a_finding_says_is_not_said_again_as_an_assumption(run: Run) -> None:
    case = case_of(sample(30, 0), "job/a", assumptions=["the seed walks", "the base is the job's"])
    found = Finding("seed-rule", "info", "the seed walks", "settings.seed")
    row = run.bare(case, sample(30, 0), Verdict.ERROR, "x", findings=[found])
    assert CaseView(row, (), (), None).findings == [found]
    assert assumptions(row) == ("the base is the job's",)


def test_the_curve_falls_from_left_to_right() -> None:
    chart = curve([1.0, 0.8, 0.5, 0.0], 3)
    assert chart is not None
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(chart.points))
    assert chart.points[0] == (chart.left, 8)
    assert chart.points[-1] == (chart.right, chart.bottom)
    assert "after step 1 it is 0.800" in chart.summary


def test_a_curve_needs_two_sigmas() -> None:
    assert curve([1.0], 1) is None


def test_a_warning_an_eager_engine_and_a_taken_render_are_told(run: Run) -> None:
    preview = sample(30, 0)
    case = case_of(preview, "job/a")
    rendered = rendered_of(case, engine_reason="the exact engine gave other bits")
    row = run.compared(case, preview, preview, rendered=rendered)
    told = row.model_copy(update={"warnings": ["rendered eagerly"], "taken_from": "last-night"})
    facts = {fact.name: fact.value for fact in provenance(told)}
    assert facts["Warning"] == "rendered eagerly"
    assert facts["Rendered by"] == "run last-night"
    assert facts["Engine"] == "eager: the exact engine gave other bits"
    assert not {"Warning", "Rendered by"} & {fact.name for fact in provenance(row)}

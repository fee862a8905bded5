"""Several accepted results of one case on one kind of machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.app import app
from harness.errors import BaselineError
from harness.judging.baseline import MAX_ACCEPTED
from harness.judging.baseline_judging import against_baseline
from harness.judging.baseline_store import BaselineStore
from harness.runs.accept import accept_row
from harness.runs.run_files import MANIFEST, RESULTS
from harness.schema.result import Verdict
from tests.judging.rows import accepted, row, scores

HIGH, LOW = row(scores(0.986), image="a"), row(scores(0.968), image="b")


@pytest.mark.parametrize(("ssim", "number"), [(0.99, 1), (0.985, 1), (0.97, 2), (0.951, 2)])
def test_within_the_margin_of_any_passes_and_the_row_says_of_which(ssim: float, number: int) -> None:
    judged = against_baseline(row(scores(ssim), image="c"), accepted(HIGH, LOW))
    assert judged.baseline is not None
    assert (judged.baseline.number, judged.baseline.of) == (number, 2)
    assert judged.verdict is not Verdict.REGRESSION


def test_worse_than_all_is_a_regression_from_the_nearest() -> None:
    judged = against_baseline(row(scores(0.94), image="c"), accepted(HIGH, LOW))
    assert judged.verdict is Verdict.REGRESSION
    assert judged.reason.startswith("worse than accepted result 2 of 2: SSIM 0.9400 was 0.9680")


def test_the_very_image_of_either_is_bit_equal() -> None:
    for number, known in enumerate((HIGH, LOW), 1):
        judged = against_baseline(known, accepted(HIGH, LOW))
        assert judged.reason.startswith(f"bit-equal to accepted result {number} of 2")
        assert not judged.changed


def test_each_machine_counts_with_its_nearest_and_of_the_machines_the_strictest() -> None:
    gpu = {"gpu": {"name": "NVIDIA H100"}}
    lenient = row(scores(0.93), image="d", environment={"gpu": {"name": "other"}})
    judged = against_baseline(
        row(scores(0.94), image="c", environment=gpu), accepted(HIGH, row(scores(0.95), image="b"), lenient)
    )
    assert judged.verdict is not Verdict.REGRESSION
    strict = against_baseline(
        row(scores(0.91), image="c", environment=gpu), accepted(HIGH, row(scores(0.95), image="b"), lenient)
    )
    assert strict.verdict is Verdict.REGRESSION


def test_also_adds_without_it_replaces_and_the_same_image_is_held_once(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path)
    for accept, also in ((HIGH, False), (LOW, True), (HIGH, True)):
        path = accept_row(accept, store, reason="looked at it", also=also)
    (found,) = store.entries("job/0").values()
    assert [entry.image_sha256 for entry in found] == ["b" * 64, "a" * 64]
    assert path is not None
    assert len(json.loads(path.read_text())["entries"]["cpu-linux-x86-64-avx512"]) == 2
    accept_row(HIGH, store, reason="only this one")
    ((entry,),) = store.entries("job/0").values()
    assert entry.reason == "only this one"
    assert "image_sha256" in json.loads(path.read_text())["entries"]["cpu-linux-x86-64-avx512"]


def test_there_is_a_most_and_one_line_says_so(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path)
    for number in range(MAX_ACCEPTED):
        accept_row(row(image=str(number)), store, reason="one more", also=True)
    before = store.path("job/0").read_bytes()
    with pytest.raises(BaselineError, match=r"holds 4 accepted results of cpu-linux.* without --also"):
        accept_row(row(image="f"), store, reason="one too many", also=True)
    assert store.path("job/0").read_bytes() == before


@pytest.mark.parametrize("entries", [[], [{}] * (MAX_ACCEPTED + 1)])
def test_a_list_of_none_or_too_many_is_one_line(tmp_path: Path, entries: list[object]) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job/0.json").write_text(json.dumps({"case": "job/0", "entries": {"cpu": entries}}))
    with pytest.raises(BaselineError, match=r"entries\.cpu"):
        BaselineStore(tmp_path).entries("job/0")


def test_the_command_adds_with_also(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / MANIFEST).write_text('{"identity": {}}')
    for result, more in ((HIGH, []), (LOW, ["--also"])):
        (tmp_path / "run" / RESULTS).write_text(result.model_dump_json() + "\n")
        done = CliRunner().invoke(app, ["accept", "run", "--reason", "both are valid", *more])
        assert done.exit_code == 0, done.output
    (found,) = BaselineStore(tmp_path / "baselines").entries("job/0").values()
    assert len(found) == 2

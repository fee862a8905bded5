from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from harness.errors import HarnessError
from harness.judging.verdict import DEFAULT_TOLERANCE
from harness.runs.rescore import rescore
from harness.runs.results import RunResult, load_run
from harness.runs.run import run_cases
from harness.schema.result import Verdict
from tests.runs.conftest import MakeCase
from tests.runs.counting import ANYTHING, CPU, by_name, images


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


def test_a_rescore_of_other_images_is_refused(finished: RunResult) -> None:
    said = {"rerun": "is not the image that was rendered", "preview": "is not the case's preview"}
    for name, size in product(said, [(128, 128), (33, 17)]):
        path = finished.folder / str(getattr(by_name(finished)["a"].images, name))
        kept = path.read_bytes()
        Image.new("RGB", size).save(path)
        with pytest.raises(HarnessError, match=f"{said[name]}; run the case again"):
            rescore(finished.folder)
        path.write_bytes(kept)
    assert load_run(finished.folder).rows == finished.rows


def test_a_rescore_adds_metrics_and_names_those_that_are_gone(
    finished: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ssimulacra2")
    added = rescore(finished.folder, metrics=["ssimulacra2"])
    assert by_name(added)["a"].ssimulacra2 is not None
    assert by_name(added)["b"].ssimulacra2 is None
    limited = DEFAULT_TOLERANCE.model_copy(update={"ssim_min": 0.0, "lpips_max": 9.0, "psnr_min": None})
    limited = limited.model_copy(update={"ssimulacra2_min": 99.0})
    drift = by_name(rescore(finished.folder, tolerance=limited))["a"]
    assert (drift.verdict, drift.ssimulacra2) == (Verdict.DRIFT, by_name(added)["a"].ssimulacra2)
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    for _ in range(2):
        gone = by_name(rescore(finished.folder))["a"]
        assert (gone.verdict, gone.ssimulacra2) == (Verdict.INCOMPARABLE, None)
        (warning,) = gone.warnings
        assert warning.startswith("SSIMULACRA2 was not measured")

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli.app import app
from harness.errors import BaselineError, RunError
from harness.judging.baseline import environment_key
from harness.judging.baseline_judging import against_baseline
from harness.judging.baseline_store import BaselineStore
from harness.runs.accept import accept_row, accept_run
from harness.runs.run_files import MANIFEST, RESULTS
from harness.schema.result import Verdict
from tests.judging.rows import CPU, H100, accepted, row, scores


def test_the_key_names_the_hardware_and_no_version() -> None:
    assert environment_key(H100) == "cuda-nvidia-h100-80gb-hbm3"
    assert environment_key(CPU) == environment_key({**CPU, "packages": {"torch": "9"}, "threads": 8})
    assert environment_key(CPU) != environment_key({**CPU, "cpu": "AVX2"})


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


@pytest.mark.skipif(sys.platform == "win32", reason="has no flock")
def test_results_that_are_accepted_at_once_are_all_kept(tmp_path: Path) -> None:
    machines = [{**H100, "gpu": {"name": f"GPU {number}"}} for number in range(8)]

    def accept(machine: dict[str, Any]) -> None:
        accept_row(row(environment=machine), BaselineStore(tmp_path), reason="each from its own terminal")

    with ThreadPoolExecutor(len(machines)) as threads:
        list(threads.map(accept, machines))
    assert sorted(BaselineStore(tmp_path).entries("job/0")) == sorted(map(environment_key, machines))
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["0.json"]


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
    (run / "images").symlink_to("/etc")
    with pytest.raises(RunError, match="images: is a link"):
        accept_run(run, [], root=tmp_path / "b", reason="x")
    (run / "images").unlink()
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

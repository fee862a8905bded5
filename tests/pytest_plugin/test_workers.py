from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from harness.pytest_plugin.terminal import Tally
from harness.pytest_plugin.xdist import groups, name_groups, pin_worker_to_gpu
from harness.runs.gpus import visible_gpus
from tests.pytest_plugin.tiny_project import CASES, output, rows


def test_two_workers_give_the_same_rows_baselines_and_one_report(
    project: Path, pytester: pytest.Pytester
) -> None:
    def command(name: str) -> tuple[str, ...]:
        return (
            CASES, f"--harness-results={name}", f"--harness-baselines={name}_baselines",
            "--harness-update-baselines",
        )  # fmt: skip

    one = pytester.runpytest_inprocess(*command("one"), "--no-harness-report")
    two = pytester.runpytest_subprocess(
        *command("two"), "-v", "-n", "2", "--dist", "loadgroup", "--harness-score-workers=1"
    )
    assert one.ret == two.ret == 0, output(two)
    worker = {case: gw for gw, case in re.findall(r"\[(gw\d)\].*::tiny/(\w+)@weights", output(two))}
    assert worker["lora_0"] == worker["lora_1"] != worker["plain"] == worker["drifted"]
    two.stdout.fnmatch_lines(
        ["verdicts: 3 match, 1 drift", "bit-equal to their baselines: 4 of 4", "report: two/index.html"]
    )
    assert _told(rows(project / "one")) == _told(rows(project / "two"))
    assert _entries(project / "one_baselines") == _entries(project / "two_baselines")
    assert sorted(path.name for path in project.iterdir() if "two" in path.name) == ["two", "two_baselines"]
    assert (project / "two/index.html").is_file()
    assert len(list((project / "two/images").rglob("rerun.png"))) == 4


def test_what_a_worker_found_is_taken_over_whole() -> None:
    found = Tally(
        Counter(match=3, drift=1), ["b.json"], ["gone"], cases=4, deselected=2, variants=5, judged=4,
        identical=1, changed=["tiny/plain"], elsewhere=["tiny/drifted"], refused=True,
    )  # fmt: skip
    total = Tally()
    total.add(found.plain())
    assert total == found


def _told(found: dict[str, object]) -> dict[str, object]:
    """Everything of a row but how long it took."""
    return {case: row.model_dump(exclude={"seconds", "baseline"}) for case, row in found.items()}  # type: ignore[attr-defined]


def _entries(folder: Path) -> dict[str, str]:
    return {
        path.name: "\n".join(line for line in path.read_text().splitlines() if '"accepted"' not in line)
        for path in folder.rglob("*.json")
    }


def test_cases_that_share_weights_share_a_worker() -> None:
    assert groups(["a", "a", "b", "b"], 2) == ["weights0.0", "weights0.0", "weights1.0", "weights1.0"]


def test_weights_with_more_than_their_part_are_split() -> None:
    assert groups(["a"] * 4, 2) == ["weights0.0", "weights0.0", "weights0.1", "weights0.1"]
    assert len(set(groups(["a"] * 7 + ["b"], 4))) == 5
    assert groups([], 2) == []


@pytest.mark.skipif(not hasattr(pytest.Item, "id"), reason="xdist names groups where ids are strings")
def test_a_group_that_a_test_names_itself_is_kept(pytester: pytest.Pytester) -> None:
    items = pytester.getitems(
        "import pytest\n"
        "@pytest.mark.xdist_group(name='a')\ndef test_a(): ...\n"
        "@pytest.mark.xdist_group\ndef test_b(): ...\n"
        "def test_c(): ...\n"
    )
    name_groups(items)
    name_groups(items)
    assert [item.nodeid.partition("::")[2] for item in items] == ["test_a@a", "test_b@default", "test_c"]


@pytest.mark.parametrize(("worker", "gpu"), [("gw0", "2"), ("gw1", "5"), ("gw2", "2"), ("gw3", "5")])
def test_a_worker_sees_its_own_gpu_only(monkeypatch: pytest.MonkeyPatch, worker: str, gpu: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    pin_worker_to_gpu()
    assert visible_gpus() == [gpu]


@pytest.mark.parametrize(("worker", "gpu"), [("gw0", "0"), ("gw1", "1"), ("gw2", "0")])
def test_without_a_choice_the_driver_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, worker: str, gpu: str
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 0\necho 1\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "to be restored")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    pin_worker_to_gpu()
    assert visible_gpus() == [gpu]


def test_without_workers_every_gpu_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pin_worker_to_gpu()
    assert visible_gpus() == ["2", "5"]

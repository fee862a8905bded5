"""Disks that fill, files that vanish, clocks that go back, users who press Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness._util.atomic_files import PART, write_text
from harness.errors import HarnessError, RunError
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.folder import RunFolder
from harness.runs.run import run_cases
from harness.runs.run_files import RESULTS, read_rows
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row
from tests.full_disk import full
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU, seeded


class Between:
    """The reference renderer; does something before the render of one seed."""

    def __init__(self, real: ReferenceRenderer, seed: int, action: Callable[[], object]) -> None:
        self._real, self._seed, self._action = real, seed, action
        self.seeds: list[int] = []

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        self.seeds.append(request.seed)
        if request.seed == self._seed:
            self._action()
        return self._real.render(request, on_step)

    def close(self) -> None: ...


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    make_case: MakeCase, tmp_path: Path, renderer: ReferenceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = seeded(make_case, 3)
    first = Between(renderer, 1, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(RunError, match="cannot go on: No space left on device") as caught:
        run_cases(cases, out=tmp_path / "run", options=CPU, renderer=first)
    assert "\n" not in str(caught.value)
    assert "repeat the command" in str(caught.value)
    assert [row.case for row in read_rows(tmp_path / "run")] == ["small/s0"]
    monkeypatch.undo()
    again = Between(renderer, -1, lambda: None)
    assert len(run_cases(cases, out=tmp_path / "run", options=CPU, renderer=again).rows) == 3
    assert again.seeds == [1, 2]


def test_a_row_that_does_not_fit_leaves_no_part_of_itself(
    tmp_path: Path, make_row: Callable[..., Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunFolder(tmp_path / "run", {"cases": []}, {}) as folder:
        folder.append(make_row("a"))
        whole = (tmp_path / "run" / RESULTS).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                folder.append(make_row("b"))
        assert (tmp_path / "run" / RESULTS).read_bytes() == whole
        folder.append(make_row("c"))
    assert [row.case for row in read_rows(tmp_path / "run")] == ["small/a", "small/c"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from harness._util.atomic_files import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), bytes(5000))
except OSError as error:
    sys.exit(error.strerror)
"""


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "old")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "File too large\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_what_a_killed_write_left_is_taken_over_and_writers_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    (tmp_path / f".{path.name}{PART}").write_text("half of what a killed process had to say")
    texts = [str(number) * 1000 * number for number in range(1, 5)]

    def write(text: str) -> None:
        for _ in range(20):
            write_text(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(write, texts))
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("what", ["preview", "lora", "folder"])
def test_a_file_that_vanishes_is_one_line(
    make_case: MakeCase, tmp_path: Path, renderer: ReferenceRenderer, what: str
) -> None:
    cases = [make_case("s0", settings={"seed": 0}), make_case("s1", lora=200, settings={"seed": 1})]
    lost = cases[1].preview_path if what == "preview" else cases[1].lora_path
    assert lost is not None

    def vanish() -> None:
        if what == "folder":
            (tmp_path / "cases").rename(tmp_path / "gone")
        else:
            lost.unlink()

    with pytest.raises(HarnessError) as caught:
        run_cases(cases, out=tmp_path / "run", options=CPU, renderer=Between(renderer, 1, vanish))
    assert "\n" not in str(caught.value)
    assert lost.name in str(caught.value)
    assert caught.value.exit_code == 2
    assert [row.case for row in read_rows(tmp_path / "run")] == ["small/s0"]


def test_a_clock_that_went_back_changes_nothing(
    make_case: MakeCase, tmp_path: Path, renderer: ReferenceRenderer
) -> None:
    cases = seeded(make_case, 2)
    run_cases(cases[:2], out=tmp_path / "run", options=CPU, renderer=renderer)
    later = 4_000_000_000
    for path in [*(tmp_path / "run").rglob("*"), *(tmp_path / "cases").rglob("*")]:
        os.utime(path, (later, later))
    again = Between(renderer, -1, lambda: None)
    assert len(run_cases(cases, out=tmp_path / "run", options=CPU, renderer=again).rows) == 2
    assert again.seeds == []


def test_what_a_killed_process_had_begun_to_write_is_removed(
    tmp_path: Path, make_row: Callable[..., Row]
) -> None:
    with RunFolder(tmp_path / "run", {"cases": []}, {}) as folder:
        folder.append(make_row("a"))
    parts = [tmp_path / "run" / f".run.json.x{PART}", tmp_path / "run" / "images" / f".rerun.png.y{PART}"]
    for part in parts:
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(b"half")
    with RunFolder(tmp_path / "run", {"cases": []}, {}):
        assert not any(part.exists() for part in parts)
    assert len(read_rows(tmp_path / "run")) == 1

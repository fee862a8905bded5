"""The run folder on disk: whole lines, one owner, one writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import RunError
from harness.runs.folder import RunFolder, locked
from harness.runs.run_files import MANIFEST, RESULTS, read_manifest, read_rows, write_rows
from harness.runs.stored_renders import _rows
from tests.runs.conftest import MakeRow

IDENTITY = {"device": "cpu", "cases": ["a"]}


def opened(path: Path, **identity: object) -> RunFolder:
    return RunFolder(path, {**IDENTITY, **identity}, {"created": "today"})


def refused(path: Path, **identity: object) -> str:
    with pytest.raises(RunError) as caught:
        opened(path, **identity)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: --out: ")
    assert caught.value.exit_code == 2
    return line


def test_rows_come_back_as_they_were(tmp_path: Path, make_row: MakeRow) -> None:
    rows = [make_row("a"), make_row("b", reason="\u2028 line\nbreaks \x85 and ünïcödé")]
    with opened(tmp_path / "run") as folder:
        for row in rows:
            folder.append(row)
        assert [row.model_dump() for row in folder.done.values()] == [row.model_dump() for row in rows]
    assert [row.model_dump() for row in read_rows(tmp_path / "run")] == [row.model_dump() for row in rows]


def test_each_row_is_one_whole_line_at_once(tmp_path: Path, make_row: MakeRow) -> None:
    with opened(tmp_path / "run") as folder:
        for count, name in enumerate("abc", 1):
            folder.append(make_row(name))
            data = (tmp_path / "run" / RESULTS).read_bytes()
            assert data.endswith(b"\n")
            lines = data.decode().split("\n")[:-1]
            assert [json.loads(line)["case"] for line in lines] == [f"small/{name}" for name in "abc"[:count]]


@pytest.mark.parametrize("kept", [1, 50, -2])
def test_a_partial_last_line_is_dropped(tmp_path: Path, make_row: MakeRow, kept: int) -> None:
    with opened(tmp_path / "run") as folder:
        folder.append(make_row("a"))
    results = tmp_path / "run" / RESULTS
    whole = results.read_bytes()
    results.write_bytes(whole + make_row("b").model_dump_json().encode()[:kept])
    assert [row.case for row in read_rows(tmp_path / "run")] == ["small/a"]
    with opened(tmp_path / "run") as folder:
        assert [case for case, _ in folder.done] == ["small/a"]
        assert results.read_bytes() == whole
        folder.append(make_row("b"))
    assert [row.case for row in read_rows(tmp_path / "run")] == ["small/a", "small/b"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_cut_off_the_rows_before_stay(
    tmp_path: Path, make_row: MakeRow, data: st.DataObject
) -> None:
    rows = [make_row(name) for name in "abc"]
    whole = [row.model_dump_json().encode() + b"\n" for row in rows]
    kept = data.draw(st.integers(0, sum(map(len, whole))))
    with tempfile.TemporaryDirectory(dir=tmp_path) as run:
        results = Path(run) / RESULTS
        (Path(run) / MANIFEST).write_text(json.dumps({"identity": IDENTITY}))
        results.write_bytes(b"".join(whole)[:kept])
        left = [row.case for row, end in zip(rows, accumulate(map(len, whole)), strict=True) if end <= kept]
        assert [row.case for row in read_rows(Path(run))] == left
        with opened(Path(run)) as folder:
            folder.append(make_row("d"))
        assert [row.case for row in read_rows(Path(run))] == [*left, "small/d"]


def test_a_whole_line_that_is_no_row_is_named(tmp_path: Path, make_row: MakeRow) -> None:
    with opened(tmp_path / "run") as folder:
        folder.append(make_row("a"))
    with (tmp_path / "run" / RESULTS).open("a") as stream:
        stream.write('{"case": "x"}\n')
    with pytest.raises(RunError, match=r"results\.jsonl:2: verdict: Field required"):
        read_rows(tmp_path / "run")


def test_a_row_of_another_version_says_what_to_do(tmp_path: Path, make_row: MakeRow) -> None:
    with opened(tmp_path / "run") as folder:
        folder.append(make_row("a"))
    row = json.loads((tmp_path / "run" / RESULTS).read_text()) | {"hue": 3}
    (tmp_path / "run" / RESULTS).write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError) as caught:
        read_rows(tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path}/run/{RESULTS}:1: hue: unknown key; it is damaged, or of another version of the harness: "
        "take the line out and repeat the run's command"
    )


def test_rows_are_no_pipe(tmp_path: Path) -> None:
    """Nothing waits for who may write to it one day, neither for this run nor for one beside it."""
    os.mkfifo(tmp_path / RESULTS)
    with pytest.raises(RunError, match=r"results\.jsonl: cannot be read \(not a regular file\)"):
        read_rows(tmp_path)
    assert list(_rows(tmp_path, {"key"})) == []


@pytest.mark.parametrize("cases", [5, "abc", [1], [{"id": "a"}], None])
def test_a_manifest_whose_cases_are_no_ids(tmp_path: Path, cases: object) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"identity": {"cases": cases}}))
    with pytest.raises(RunError, match=r"run\.json: cases: is no list of ids; make a new run"):
        read_manifest(tmp_path)


def test_the_last_row_of_a_case_wins(tmp_path: Path, make_row: MakeRow) -> None:
    with opened(tmp_path / "run") as folder:
        folder.append(make_row("a", reason="first"))
        folder.append(make_row("a", reason="other", variant="shift-1"))
        folder.append(make_row("a", reason="second"))
    found = [(row.variant, row.reason) for row in read_rows(tmp_path / "run")]
    assert found == [("reference", "second"), ("shift-1", "other")]


def test_a_run_of_its_own_identity_is_taken_up(tmp_path: Path) -> None:
    opened(tmp_path / "run").__exit__(None, None, None)
    with RunFolder(tmp_path / "run", IDENTITY, {"created": "tomorrow"}):
        assert read_manifest(tmp_path / "run")["created"] == "today"


def test_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    opened(tmp_path / "run").__exit__(None, None, None)
    before = (tmp_path / "run" / MANIFEST).read_bytes()
    line = refused(tmp_path / "run", device="cuda", cases=["b"])
    assert "holds another run: cases, device differ" in line
    assert (tmp_path / "run" / MANIFEST).read_bytes() == before
    with opened(tmp_path / "run"):
        pass


def test_what_moved_in_an_environment_is_named(tmp_path: Path) -> None:
    opened(tmp_path, environment={"packages": {"torch": "2.11", "peft": "1"}}).__exit__(None, None, None)
    line = refused(tmp_path, environment={"packages": {"torch": "2.12", "peft": "1"}, "threads": 2})
    assert "holds another run: environment.packages.torch, environment.threads differ" in line


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    assert "is not empty and holds no run" in refused(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with opened(tmp_path):
        assert read_manifest(tmp_path)["identity"] == IDENTITY


def test_a_run_killed_before_its_manifest_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.k3j2h1").touch()
    with opened(tmp_path):
        assert read_manifest(tmp_path)["identity"] == IDENTITY


@pytest.mark.parametrize("below", ["run", "run/deeper/still"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, below: str) -> None:
    (tmp_path / "run").write_text("a file")
    assert "cannot be written (" in refused(tmp_path / below)
    assert (tmp_path / "run").read_text() == "a file"


HOLD = """
import sys
from pathlib import Path
from harness.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1]), {"device": "cpu", "cases": ["a"]}, {"created": "today"}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_writer_at_a_time(tmp_path: Path, make_row: MakeRow) -> None:
    row = make_row("a")
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert "is in use by another process" in refused(tmp_path / "run")
        said = r"/run: is in use by another process; wait for it, or work on a copy of it"
        with pytest.raises(RunError, match=said), locked(tmp_path / "run"):
            write_rows(tmp_path / "run", [row])
        assert read_rows(tmp_path / "run") == []
        other.kill()
    with opened(tmp_path / "run"):
        pass


def test_an_error_while_opening_frees_the_lock(tmp_path: Path) -> None:
    opened(tmp_path / "run").__exit__(None, None, None)
    (tmp_path / "run" / RESULTS).write_text("{}\n")
    with pytest.raises(RunError, match=r"results\.jsonl:1"):
        opened(tmp_path / "run")
    (tmp_path / "run" / RESULTS).unlink()
    with opened(tmp_path / "run"):
        pass


def test_replacing_rows_leaves_the_new_ones_and_nothing_else(tmp_path: Path, make_row: MakeRow) -> None:
    with opened(tmp_path / "run") as folder:
        folder.append(make_row("a"))
        folder.append(make_row("b"))
    before = {path.name for path in (tmp_path / "run").iterdir()}
    write_rows(tmp_path / "run", [make_row("a", reason="again")])
    assert [(row.case, row.reason) for row in read_rows(tmp_path / "run")] == [("small/a", "again")]
    assert {path.name for path in (tmp_path / "run").iterdir()} == before


def test_replacing_rows_that_fails_leaves_the_old_ones(tmp_path: Path, make_row: MakeRow) -> None:
    with opened(tmp_path / "run") as folder:
        folder.append(make_row("a"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    broken = make_row("b", reason="a lone surrogate").model_copy(update={"reason": "\ud800"})
    with pytest.raises(ValueError, match="surrogates"):
        write_rows(tmp_path / "run", [make_row("c"), broken])
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "is not a run folder"), ("{", "is not a run folder"), ("[]", "holds no identity")],
)
def test_a_folder_that_is_no_run(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(RunError, match=said):
        read_manifest(tmp_path)


def test_the_preview_is_kept_as_it_is(tmp_path: Path) -> None:
    preview = tmp_path / "P.JPG"
    preview.write_bytes(b"jpeg")
    with opened(tmp_path / "run") as folder:
        assert folder.keep_preview("a/b", preview) == "images/a/b/preview.jpg"
        assert folder.keep_preview("a/b", preview) == "images/a/b/preview.jpg"
        assert folder.image_folder("a/b", "reference") == tmp_path / "run/images/a/b/reference"
        assert (tmp_path / "run/images/a/b/preview.jpg").read_bytes() == b"jpeg"
        preview.write_bytes(b"imported again")
        folder.keep_preview("a/b", preview)
    assert (tmp_path / "run/images/a/b/preview.jpg").read_bytes() == b"imported again"
    assert [path.name for path in (tmp_path / "run/images/a/b").glob(".*")] == []

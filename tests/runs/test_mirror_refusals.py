from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from harness.runs import mirror as copying
from harness.runs.run_files import MANIFEST, RESULTS, write_rows
from tests.runs.conftest import MakeRow
from tests.runs.copies import opened, put, refused, send, there, visible


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("backup", "--copy-to: no URL that fsspec knows: 'backup'; give one such as s3://bucket/nights/1"),
        ("s3:/bucket", "--copy-to: no URL that fsspec knows: 's3:/bucket'"),
        ("nope://me:secret@host/x", "--copy-to: no URL that fsspec knows: 'nope://…@host/x'"),
        ("file:///dev/null/x", "file:///dev/null/x: --copy-to: cannot be written (Not a directory)"),
        (
            "ftp://me:secret@127.0.0.1:1/x",
            "ftp://…@127.0.0.1:1/x: --copy-to: cannot be used (Connection refused)",
        ),
    ],
)
def test_what_is_no_place_for_a_copy(tmp_path: Path, asked: str, said: str) -> None:
    line = refused(tmp_path / "run", asked)
    assert line.startswith(said)
    assert "secret" not in line
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    line = refused(tmp_path / "run", "s3://key:se/cret@bucket/run")
    assert line.startswith("s3://…@bucket/run: --copy-to: needs a package: ")
    assert line.endswith("; pip install s3fs")


def test_a_reason_does_not_say_the_password() -> None:
    error = OSError("530 login of me with p@ss or p%40ss failed")
    assert copying._reason(error, "ftp://me:p%40ss@host/x") == "530 login of me with … or … failed"


def test_a_place_that_holds_something_else_stays_as_it_is(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    put(f"{url}/thesis.txt")
    assert "--copy-to: is not empty and holds no run; name an empty place" in refused(tmp_path / "run", url)
    assert there(url) == {"thesis.txt": b"precious"}
    assert not (tmp_path / "run").exists()


def test_a_place_that_holds_another_run_stays_as_it_is(tmp_path: Path, url: str, make_row: MakeRow) -> None:
    send(tmp_path / "run", url, make_row("a"))
    before = there(url)
    line = refused(tmp_path / "other", url, device="cuda")
    assert line.startswith(f"{url}: --copy-to: holds another run: device differ")
    assert there(url) == before
    assert not (tmp_path / "other").exists()
    put(f"{url}/{MANIFEST}", b"{")
    assert "run.json cannot be read" in refused(tmp_path / "other", url)


def test_rows_that_only_the_copy_has_are_not_lost(tmp_path: Path, url: str, make_row: MakeRow) -> None:
    send(tmp_path / "run", url, make_row("a"))
    shutil.copytree(tmp_path / "run", tmp_path / "older")
    send(tmp_path / "run", url, make_row("b"))
    before = there(url)
    assert f"holds 1 rows that {tmp_path / 'older'} lacks" in refused(tmp_path / "older", url)
    assert there(url) == before


def test_a_row_that_another_machine_made_again_is_not_overwritten(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    send(tmp_path / "run", url, make_row("a"))
    send(tmp_path / "other", url, make_row("a").model_copy(update={"reason": "judged anew"}))
    before = there(url)
    assert "holds 1 rows that" in refused(tmp_path / "run", url)
    assert there(url) == before


def test_rows_that_were_judged_again_here_replace_those_there(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    send(tmp_path / "run", url, make_row("a"))
    write_rows(tmp_path / "run", [make_row("a").model_copy(update={"reason": "judged anew"})])
    send(tmp_path / "run", url)
    assert there(url) == visible(tmp_path / "run")


@pytest.mark.parametrize("url", ["memory"], indirect=True)
def test_names_that_lead_out_of_the_folder_are_not_fetched(
    tmp_path: Path, url: str, make_row: MakeRow
) -> None:
    send(tmp_path / "run", url, make_row("a"))
    for name in ("images/../../out", "/absolute", "images//empty", ".hidden"):
        MemoryFileSystem.store[f"/bucket/run/{name}"] = MemoryFileSystem.store[f"/bucket/run/{RESULTS}"]
    folder, _ = opened(tmp_path / "a" / "b", url)
    with folder:
        assert set(visible(tmp_path / "a")) == {f"b/{MANIFEST}", f"b/{RESULTS}"}
        assert not (tmp_path / "a" / "b" / ".hidden").exists()


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_place_in_or_around_the_run_folder_is_refused(tmp_path: Path, url: str) -> None:
    for place in ("run", "run/copy", ""):
        line = refused(tmp_path / "run", f"file://{tmp_path}/{place}")
        assert "--copy-to: overlaps the run folder" in line

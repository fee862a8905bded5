from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.core import url_to_fs
from fsspec.implementations.memory import MemoryFileSystem

from harness.errors import CopyError, LoraError
from harness.runs import mirror as copying
from harness.runs.folder import RunFolder
from harness.runs.mirror import Mirror
from harness.runs.results import load_run
from harness.runs.run_files import RESULTS, read_rows
from tests.full_disk import full
from tests.runs.conftest import MakeCase, MakeRow
from tests.runs.copies import IDENTITY, opened, refused, run, send, there, visible, wait_for
from tests.runs.counting import Counting, seeded


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_an_image_that_is_sent_again_is_never_half_there(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copy = opened(tmp_path / "run", url)
    image = folder.image_folder("small/a", "reference") / "rerun.png"
    with folder, copy:
        image.write_bytes(b"image")
        folder.append(make_row("a"))
        copy.send()
        before = there(url)
        image.write_bytes(b"another image")

        def cut(_source: Path, target: Path) -> None:
            target.write_bytes(b"ano")
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr("shutil.copyfile", cut)
            with pytest.raises(CopyError):
                copy.send()
        assert {name: data for name, data in there(url).items() if "/." not in f"/{name}"} == before
    fetched, _ = opened(tmp_path / "fresh", url)
    with fetched:
        assert visible(tmp_path / "fresh") == visible(tmp_path / "run")


def test_sending_that_fails_on_the_way_is_told_once_and_tried_again(
    tmp_path: Path, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "INTERVAL_SECONDS", 0.01)
    url, told = f"file://{tmp_path}/there", list[str]()
    copy = Mirror(tmp_path / "run", url, told.append)
    copy.check(IDENTITY)

    with RunFolder(tmp_path / "run", IDENTITY, {}, copy.fetch) as folder, copy:
        with monkeypatch.context() as patched:
            patched.setattr("shutil.copyfile", full)
            wait_for(lambda: len(told) == 1)
            folder.append(make_row("a"))
            time.sleep(0.1)
        wait_for(lambda: len(told) == 2)
    assert "is not complete (No space left on device); it is tried again" in told[0]
    assert told[1] == "--copy-to: sending works again"
    assert there(url) == visible(tmp_path / "run")


def test_a_password_is_not_left_on_disk_and_a_damaged_note_is_no_note(
    tmp_path: Path, make_row: MakeRow
) -> None:
    url = "memory://me:secret@bucket/run"
    send(tmp_path / "run", url, make_row("a"))
    note = tmp_path / "run" / copying.SENT
    assert "secret" not in note.read_text()
    for damaged in ('{"files": {"run.json": 1}}', "[" * 100_000, "[]", '{"url": 1, "files": [], "rows": 2}'):
        note.write_text(damaged)
        with opened(tmp_path / "run", url)[0]:
            pass
    MemoryFileSystem.store.clear()


def test_a_copy_that_fails_at_the_end_leaves_the_run_whole(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, cases = f"file://{tmp_path}/there", [make_case("a")]

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "_put", full)
        with pytest.raises(CopyError) as caught:
            run(cases, tmp_path / "run", url)
    assert str(caught.value) == (
        f"{url}: --copy-to: is not complete (No space left on device); {tmp_path}/run holds the "
        f"whole run: repeat the command with --out {tmp_path}/run, which sends what is missing"
    )
    assert len(load_run(tmp_path / "run").rows) == 1
    nothing = Counting()
    run(cases, tmp_path / "run", url, nothing)
    assert nothing.seeds == []
    assert there(url) == visible(tmp_path / "run")


def test_a_fetch_that_is_cut_off_is_made_again(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copy = opened(tmp_path / "run", url)
    with folder, copy:
        (folder.image_folder(".job/a", "reference") / "rerun.png").write_bytes(b"image")
        folder.append(make_row("a"))
    fs = type(url_to_fs(url)[0])

    def lost(*_: Any, **__: Any) -> None:
        raise ConnectionError("lost")

    with monkeypatch.context() as patched:
        patched.setattr(fs, "get_file", lost)
        assert "--copy-to: cannot be fetched (lost)" in refused(tmp_path / "fresh", url)
    with opened(tmp_path / "fresh", url)[0]:
        assert read_rows(tmp_path / "fresh") == read_rows(tmp_path / "run")
        assert visible(tmp_path / "fresh") == visible(tmp_path / "run")


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_run_that_ends_by_an_error_sends_what_it_has(make_case: MakeCase, tmp_path: Path, url: str) -> None:
    broken = Counting({1: LoraError("is gone")})
    with pytest.raises(LoraError, match="is gone"):
        run(seeded(make_case, 2), tmp_path / "run", url, broken)
    assert broken.seeds == [0]
    assert json.loads(there(url)[RESULTS])["case"] == "small/s0"
    assert there(url) == visible(tmp_path / "run")

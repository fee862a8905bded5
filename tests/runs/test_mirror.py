"""A run's copy at a URL: at any moment it is a run that can go on; what cannot be a copy is said."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.core import url_to_fs
from fsspec.implementations.memory import MemoryFileSystem

from harness.runs import mirror as copying
from harness.runs.mirror import Mirror
from harness.runs.plan import RunOptions
from harness.runs.run import run_cases
from harness.runs.run_files import MANIFEST, RESULTS, parse_rows
from harness.schema.render import OnStep, Render, RenderRequest
from tests.runs.conftest import MakeCase, MakeRow
from tests.runs.copies import opened, run, there, visible, wait_for
from tests.runs.counting import Counting, seeded


def test_a_run_goes_on_on_another_machine_from_its_copy(
    make_case: MakeCase, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "INTERVAL_SECONDS", 0.01)
    cases, lost = seeded(make_case, 3), Counting({2: KeyboardInterrupt()})
    render, (fs, root) = lost.render, url_to_fs(url)

    def rows_there() -> int:
        path = f"{root}/{RESULTS}"
        return int(fs.cat_file(path).count(b"\n")) if fs.exists(path) else 0

    def after_the_copy(request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request.seed == 2:  # the machine is lost once two rows are there
            wait_for(lambda: rows_there() == 2)
        return render(request, on_step)

    monkeypatch.setattr(lost, "render", after_the_copy)
    with pytest.raises(KeyboardInterrupt):
        run(cases, tmp_path / "run", url, lost)
    assert lost.seeds == [0, 1]
    for thread in threading.enumerate():
        if thread.name == "copy":
            thread.join()
    first = (tmp_path / "run" / MANIFEST).read_bytes()
    shutil.rmtree(tmp_path / "run")

    rest = Counting()
    result = run(cases, tmp_path / "fresh", url, rest)
    assert rest.seeds == [2]
    assert [row.case for row in result.rows] == ["small/s0", "small/s1", "small/s2"]
    assert (tmp_path / "fresh" / RESULTS).read_bytes().count(b"\n") == 3
    assert (tmp_path / "fresh" / MANIFEST).read_bytes() == first
    for row in result.rows:
        assert (tmp_path / "fresh" / str(row.images.rerun)).is_file()
    assert there(url) == visible(tmp_path / "fresh")

    nothing = Counting()
    assert run(cases, tmp_path / "third", url, nothing).rows == result.rows
    assert nothing.seeds == []


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_copy_is_no_part_of_what_the_run_is(make_case: MakeCase, tmp_path: Path, url: str) -> None:
    options = RunOptions(copy_to="ftp://me:secret@host/run")
    assert options.identity() == RunOptions().identity()
    assert options.reaching() == RunOptions().reaching()
    assert "secret" not in repr(options)
    cases = [make_case("a", incomparable="pruned")]
    run(cases, tmp_path / "run", url)
    assert url.encode() not in b"".join(visible(tmp_path / "run").values())
    assert run_cases(cases, out=tmp_path / "run", options=replace(options, device="cpu", copy_to=None)).rows


@pytest.mark.parametrize("url", ["memory"], indirect=True)
def test_rows_go_after_their_images_and_as_whole_lines(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, copy = opened(tmp_path / "run", url)
    folder.append(make_row("a"))
    image = folder.image_folder(".job/a", "reference") / "rerun.png"
    image.write_bytes(b"image")
    image.with_name(".waiting.safetensors").write_bytes(b"render")
    image.with_name(".rerun.png.part").write_bytes(b"ima")
    with (tmp_path / "run" / RESULTS).open("ab") as stream:
        stream.write(b'{"case": "small/b", "ver')
    real, sent = MemoryFileSystem.pipe_file, []

    def piped(fs: MemoryFileSystem, path: str, value: bytes, **more: Any) -> None:
        sent.append(set(there(url)))
        with (tmp_path / "run" / RESULTS).open("ab") as stream:
            stream.write(b"while the copy is made")
        real(fs, path, value, **more)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", piped)
    copy.send()
    assert sent == [{MANIFEST, "images/.job/a/reference/rerun.png"}], "rows go last"
    assert [row.case for row in parse_rows(there(url)[RESULTS], url)] == ["small/a"]
    assert there(url)[RESULTS].endswith(b"}\n")
    copy.send()
    assert len(sent) == 2, "the rows changed since they were read"
    folder.__exit__(None, None, None)


def test_only_what_changed_is_sent_again(
    tmp_path: Path, url: str, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    real = Mirror._put

    def put_noted(copy: Mirror, names: list[str]) -> None:
        sent.extend(Path(name).name for name in names)
        real(copy, names)

    monkeypatch.setattr(Mirror, "_put", put_noted)
    folder, copy = opened(tmp_path / "run", url)
    with folder:
        (folder.image_folder(".job/a", "reference") / "rerun.png").write_bytes(b"image")
        folder.append(make_row("a"))
        copy.send()
        assert sent == [MANIFEST, "rerun.png"]
        (tmp_path / "run" / "index.html").write_text("report")
        Mirror(tmp_path / "run", url).send()
        assert sent[2:] == ["index.html"]
    fs, root = url_to_fs(url)
    fs.rm_file(f"{root}/images/.job/a/reference/rerun.png")
    folder, copy = opened(tmp_path / "run", url)
    with folder:
        copy.send()
    assert sent[3:] == ["rerun.png"], "what is gone there is missing there"
    other = f"{url}2"
    folder, copy = opened(tmp_path / "run", other)
    with folder:
        copy.send()
    assert there(other) == there(url) == visible(tmp_path / "run")

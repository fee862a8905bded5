from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness._util.output_paths import why_unwritable


@pytest.mark.parametrize("place", ["new", "new/below/it.json", "folder/new.json"])
@pytest.mark.parametrize("folder", [True, False])
def test_what_can_be_written_is_left_as_it_was(tmp_path: Path, place: str, folder: bool) -> None:
    (tmp_path / "folder").mkdir()
    assert why_unwritable(tmp_path / place, folder=folder) is None
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_a_file_that_is_there_can_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    assert why_unwritable(tmp_path / "old.json") is None
    assert (tmp_path / "old.json").read_text() == "old"


@pytest.mark.parametrize(
    ("place", "of_file", "of_folder"),
    [
        ("folder", "it is a folder", None),
        ("file", None, "it is no folder"),
        ("file/below", "file is no folder", "file is no folder"),
        ("dangling/below", "dangling is no folder", "dangling is no folder"),
        ("pipe", "it is no regular file", "it is no folder"),
        ("l" * 254, "File name too long", None),
        ("l" * 300, "File name too long", "File name too long"),
        ("nul\0", "embedded null", "embedded null"),
    ],
)
def test_what_is_in_the_way_is_named(
    tmp_path: Path, place: str, of_file: str | None, of_folder: str | None
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for said, found in (
        (of_file, why_unwritable(tmp_path / place)),
        (of_folder, why_unwritable(tmp_path / place, folder=True)),
    ):
        assert (found is None) if said is None else said in str(found)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_lets_nobody_write(tmp_path: Path) -> None:
    assert why_unwritable(Path("/proc/a.json")) is not None
    assert why_unwritable(Path("/proc/a/b"), folder=True) is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.getuid():  # nothing is closed to root
        assert why_unwritable(closed / "a.json") == "Permission denied"

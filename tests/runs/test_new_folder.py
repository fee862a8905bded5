from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import RunError
from harness.runs.new_folder import claim, fresh_folder


def test_many_at_once_get_a_folder_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim(tmp_path / "reports", "pytest-"), range(40)))
    assert len(set(folders)) == 40
    assert all(folder.is_dir() and folder.name.startswith("pytest-2") for folder in folders)


def test_what_stays_empty_goes_and_what_is_filled_stays(tmp_path: Path) -> None:
    runs = tmp_path / "reports"
    with fresh_folder(runs):
        pass
    assert not runs.exists()
    with fresh_folder(runs) as kept:
        (kept / "run.json").write_text("{}")
    with pytest.raises(KeyError), fresh_folder(runs):
        raise KeyError
    assert list(runs.iterdir()) == [kept]


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        claim(tmp_path / "reports")

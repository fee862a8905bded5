"""Files read ahead: the whole of what was asked for, as far as memory is free, before torch is there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.precision import read_ahead
from harness.precision.read_ahead import Extent, free_memory, reading_ahead


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Pieces that were read."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(read_ahead, "PIECE", 10)
    monkeypatch.setattr(read_ahead, "GAP", 4)
    monkeypatch.setattr(read_ahead, "_read", lambda _, piece, __: found.append((piece.begin, piece.end)))
    return found


def test_extents_are_read_in_pieces(read: list[tuple[int, int]], tmp_path: Path) -> None:
    deadline = time.monotonic() + 10
    with reading_ahead([Extent(tmp_path, 5, 28), Extent(tmp_path, 40, 41)]):
        while len(read) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert sorted(read) == [(5, 15), (15, 25), (25, 28), (40, 41)]


def test_neighbours_are_read_as_one(read: list[tuple[int, int]], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    with reading_ahead([Extent(tmp_path, 0, 3), Extent(tmp_path, 7, 9), Extent(other, 9, 12)]):
        deadline = time.monotonic() + 10
        while len(read) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert sorted(read) == [(0, 9), (9, 12)]


def test_no_more_than_half_of_the_free_memory_is_filled(
    read: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "free_memory", lambda: 50)
    with reading_ahead([Extent(tmp_path, 0, 1000)]):
        pass
    assert sum(end - begin for begin, end in read) <= 25
    assert free_memory() > 0 or sys.platform != "linux"


def test_a_file_that_cannot_be_read_is_left_to_its_reader(tmp_path: Path) -> None:
    with reading_ahead([Extent(tmp_path / "none", 0, 10), Extent(tmp_path, 0, 10)]):
        pass


def test_pieces_end_in_the_systems_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, wanted = tmp_path / "file", []
    file.write_bytes(bytes(range(100)))
    preadv = os.preadv

    def noted(descriptor: int, buffers: list[memoryview], place: int) -> int:
        count = preadv(descriptor, buffers, place)
        wanted.append((place, bytes(buffers[0][:count])))
        return count

    monkeypatch.setattr(read_ahead, "PIECE", 40)
    monkeypatch.setattr(os, "preadv", noted)
    deadline = time.monotonic() + 10
    with reading_ahead([Extent(file, 10, 90)]):
        while len(wanted) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert sorted(wanted) == [(10, bytes(range(10, 50))), (50, bytes(range(50, 90)))]


def test_a_piece_is_read_by_one_call_into_a_small_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, counts = tmp_path / "file", []
    file.write_bytes(bytes(100))
    preadv = os.preadv
    monkeypatch.setattr(read_ahead, "BUFFER", 16)
    monkeypatch.setattr(os, "preadv", lambda *args: counts.append((preadv(*args), args[2])))
    deadline = time.monotonic() + 10
    with reading_ahead([Extent(file, 10, 90)]):
        while not counts and time.monotonic() < deadline:
            time.sleep(0.001)
    assert counts == [(80, 10)]


SCRIPT = """
import sys
from harness.precision import audit
ahead, inspect = audit.reading_ahead, audit.inspect_lora
checked = []
def note(path):
    checked.append(path)
    return inspect(path)
def check(extents):
    print(len(extents), "torch" in sys.modules, len(checked))
    return ahead(extents)
audit.reading_ahead, audit.inspect_lora = check, note
from harness.cli.app import app
app(["audit", *sys.argv[1:]])
"""


def test_an_audit_reads_its_base_before_torch_is_imported(jobs: dict[str, Path]) -> None:
    lora = max(jobs["inkprint"].glob("*.safetensors"))
    arguments = [str(lora), "--base", "embedded:tiny-flex2-emoji", "--quantize", "fp8_e4m3fn"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    extents, torch_is_there, checked = done.stdout.split()[:3]
    assert int(extents) > 50
    assert torch_is_there == "False"
    assert checked == "0"  # hashing a LoRA takes a second or more

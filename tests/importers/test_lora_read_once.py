"""A LoRA is read once in a process, and again after every change that its times or its size show."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness._util import unchanged_files
from harness._util.unchanged_files import settled_state
from harness.errors import LoraError
from harness.schema import lora_file
from harness.schema.lora_file import inspect_lora
from tests.importers.lora_files import GOOD, write


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose weights are read; every file counts as settled."""
    found: list[Path] = []
    real = lora_file.hash_finite_weights

    def counted(path: Path, tensors: object) -> object:
        found.append(path)
        return real(path, tensors)  # type: ignore[arg-type]

    monkeypatch.setattr(lora_file, "hash_finite_weights", counted)
    monkeypatch.setattr(lora_file, "_KNOWN", {})
    monkeypatch.setattr(unchanged_files, "SETTLED", -60.0)
    return found


def test_a_file_that_did_not_change_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    file = write(tmp_path / "a.safetensors", GOOD)
    assert inspect_lora(file) is inspect_lora(file)
    assert reads == [file]


def test_a_change_under_the_old_time_is_seen(tmp_path: Path, reads: list[Path]) -> None:
    file = write(tmp_path / "a.safetensors", GOOD)
    before, times = inspect_lora(file), file.stat()
    time.sleep(0.1)  # a file system's clock may be that coarse
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert inspect_lora(file).sha256 != before.sha256
    assert len(reads) == 2


def test_a_file_that_was_just_written_is_always_read(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged_files, "SETTLED", 60.0)
    file = write(tmp_path / "a.safetensors", GOOD)
    assert settled_state(file) is None
    assert inspect_lora(file) == inspect_lora(file)
    assert len(reads) == 2


def test_what_was_refused_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"no safetensors file")
    for _ in range(2):
        with pytest.raises(LoraError):
            inspect_lora(file)
    write(file, GOOD)
    assert inspect_lora(file).path == file
    assert reads == [file]

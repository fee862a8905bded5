"""What is told before optimum-quanto compiles."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from harness.precision import quanto_kernels
from harness.precision.availability import missing
from harness.precision.quanto_kernels import build_line, tell_build


def built(folder: Path, version: str) -> Path:
    (folder / "pytorch_version.txt").write_text(version, encoding="utf-8")
    (folder / "quanto_cuda.so").touch()
    return folder


def test_a_build_that_is_there_for_this_torch_is_not_told(tmp_path: Path) -> None:
    assert build_line("quanto_cuda", built(tmp_path, torch.__version__)) is None


@pytest.mark.parametrize("why", ["no folder", "another torch", "ended in the middle"])
def test_a_build_that_will_be_made_is_told(why: str, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    if why != "no folder":
        folder.mkdir()
        built(folder, "2.0.0" if why == "another torch" else torch.__version__)
    if why == "ended in the middle":
        (folder / "quanto_cuda.so").unlink()
    assert "builds quanto_cuda" in str(build_line("quanto_cuda", folder))


def test_a_build_of_another_process_is_told_with_what_to_do_if_it_died(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert f"delete {tmp_path / 'lock'}" in str(build_line("quanto_cpp", tmp_path))


def test_it_is_told_once_and_only_where_quanto_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if (why := missing("qint4")) is not None:
        pytest.skip(why)
    from optimum.quanto.library.extensions.extension import get_extension

    monkeypatch.setattr(get_extension("quanto_cpp"), "build_directory", str(tmp_path))
    quanto_kernels._tell_once.cache_clear()
    part = torch.nn.Linear(8, 8)
    told = []
    for bits in (8, 4, 2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger=quanto_kernels.__name__):
            tell_build(part, bits, is_float=bits == 8)
        told.append(sum("builds quanto_cpp" in line for line in caplog.messages))
    assert told == [0, 1, 0]

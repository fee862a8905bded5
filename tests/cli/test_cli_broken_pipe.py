"""A command whose reader is gone, as that of ``| head``: all of its work is done, with its own exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.schema.case import load_cases

SCRIPT = Path(sys.executable).with_name("harness")


@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_is_gone_costs_nothing(job: Path, tmp_path: Path, both: bool) -> None:
    (job / "tiny_flex2_simple_v1_000000010.safetensors").write_bytes(b"damaged")
    reader, writer = os.pipe()
    os.close(reader)
    out = tmp_path / "cases"
    ended = subprocess.run(
        [SCRIPT, "import", job, "--out", out],
        stdout=writer,
        stderr=subprocess.STDOUT if both else subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert ended.returncode == 2
    if not both:
        (line,) = ended.stderr.decode().splitlines()
        assert line.startswith(f"harness: {job}/tiny_flex2_simple_v1_000000010.safetensors: ")
    assert len(load_cases([out])) == 16
    assert not [path for path in out.iterdir() if path.name.startswith(".harness")]


def test_python_that_was_asked_for_no_buffer_has_none() -> None:
    code = "from harness.cli.streams import outlive_readers; outlive_readers()"
    code += "; import os, sys; sys.stdout.write('at once'); os._exit(0)"
    assert (
        subprocess.run([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, check=True).stdout
        == b"at once"
    )

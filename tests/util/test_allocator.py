"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from harness._util.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def make():
    arrays = [bytearray(b"x") * (4 << 20) for _ in range(3)]
make()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    make()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_an_array_is_made_of_what_was_freed() -> None:
    faults = {
        name: int(
            subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, check=True).stdout
        )
        for name in ("kept", "usual")
    }
    assert faults["kept"] < 1000 < faults["usual"]

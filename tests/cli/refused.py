"""What every refusal of bad input looks like."""

from __future__ import annotations

from typing import Any


def refused(ended: Any) -> str:
    assert ended.code == 2
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("harness: ")
    assert "Traceback" not in ended.out + ended.err
    return str(ended.err)

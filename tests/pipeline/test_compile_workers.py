from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from harness.pipeline.engine.compile_workers import wait_until_ended
from harness.pipeline.renderer import ReferenceRenderer


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A compiler whose processes end once they may, and then say so."""
    may_end, ended = threading.Event(), threading.Event()

    def shut_down() -> None:
        may_end.wait(60)
        ended.set()

    made = SimpleNamespace(may_end=may_end, ended=ended, shutdown_compile_workers=shut_down)
    monkeypatch.setitem(sys.modules, "torch._inductor.async_compile", made)
    return made


def test_a_renderer_that_is_closed_does_not_wait_for_the_processes_that_compiled(
    compiler: SimpleNamespace,
) -> None:
    ReferenceRenderer(device="cpu").close()
    assert not compiler.ended.is_set()
    compiler.may_end.set()
    wait_until_ended()
    assert compiler.ended.is_set()


def test_without_a_compiler_none_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._inductor.async_compile", raising=False)
    ReferenceRenderer(device="cpu").close()
    assert "torch._inductor.async_compile" not in sys.modules

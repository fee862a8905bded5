"""When Python looks for garbage; what it saves is measured, not tested."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from harness._util import lean_imports
from harness._util.garbage_collector import pause_collection
from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.load import load_pipeline
from harness.runs.plan import RunOptions
from harness.runs.workers import make_renderer
from harness.schema.base import Base
from harness.schema.spec import FLEX2


@pytest.mark.parametrize("running", [True, False])
def test_the_collector_rests_and_is_left_as_it_was(running: bool) -> None:
    if not running:
        gc.disable()
    try:
        with pause_collection():
            assert not gc.isenabled()
        assert gc.isenabled() is running
    finally:
        gc.enable()


def test_the_collector_goes_on_after_an_error() -> None:
    with pytest.raises(KeyError), pause_collection():
        {}["missing"]
    assert gc.isenabled()


def test_nothing_is_collected_while_a_base_loads() -> None:
    passes: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            passes.append(phase)

    gc.callbacks.append(note)
    try:
        load_pipeline(
            find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2),
            FLEX2,
            code="builtin",
            dtype="bf16",
            device="cpu",
            offload="none",
            trust_remote_code=False,
        )
    finally:
        gc.callbacks.remove(note)
    assert len(passes) <= 2, "what follows the load may begin one; the load alone began some twenty"
    assert gc.isenabled()


def test_a_command_ends_without_looking_through_what_it_holds() -> None:
    script = (
        "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count() > 0));"
        "from harness.cli import main; sys.argv[1:] = ['--help']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "True"


def test_what_was_imported_is_never_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean_imports, "_may_hold_pipeline", False)
    gc.unfreeze()  # of a command that another test ran in this process
    frozen = gc.get_freeze_count()
    try:
        make_renderer(RunOptions(), "cpu")
        assert gc.get_freeze_count() == frozen, "this process is not the harness's own"
        monkeypatch.setattr(lean_imports, "_may_hold_pipeline", False)
        with lean_imports.own_process():
            make_renderer(RunOptions(), "cpu")
            imported = gc.get_freeze_count()
            assert imported > frozen + 100_000
            kept = [[] for _ in range(1000)]
            make_renderer(RunOptions(), "cpu")
            assert gc.get_freeze_count() <= imported, "a pipeline must not stay for ever"  # some was freed
            del kept
    finally:
        gc.unfreeze()

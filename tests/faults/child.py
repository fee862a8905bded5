"""A harness command in a forked child that dies at a chosen moment; see ``faults.py``."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENTS = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.copyfile",
    "shutil.copytree", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp",
}  # fmt: skip
"""What Python reports before it touches the file system."""

SCORING = 0.3


@dataclass(frozen=True)
class Fault:
    """When a child is stopped; at most one of these is set.

    Attributes:
        event: ``signal`` at this file-system event within the work folder, from 1; forced writes count too.
        after: ``signal`` after this many seconds.
        size: no file can grow beyond this many bytes. The write that would is cut there, and SIGKILL follows.
        full: as ``size``, but the write fails, as on a full disk.
    """

    event: int | None = None
    after: float | None = None
    signal: int = signal.SIGKILL
    size: int | None = None
    full: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code, negative for a signal; seconds in all, and since it was signalled."""

    code: int
    seconds: float
    since_signal: float
    said: str
    events: int
    renders: int


def preload() -> None:
    """Import everything and load weights once; children share them, and start in milliseconds.

    Their scoring processes are forked too, and take ``SCORING`` seconds more for an image: renders wait.
    """
    import torch

    torch.set_num_threads(1)
    import harness.calibration.calibrate
    import harness.cli.app
    import harness.diagnosis.diagnose
    import harness.pipeline.renderer
    import harness.pytest_plugin.plugin_session
    import harness.report.build
    import harness.runs.accept
    import harness.runs.scorer
    from harness.pipeline.checkpoint import find_checkpoint
    from harness.schema.base import Base
    from harness.schema.spec import FLEX2

    render, score = harness.pipeline.renderer, harness.runs.scorer
    load, loaded = render.load_pipeline, {}

    def load_once(checkpoint: Any, spec: Any, **options: Any) -> Any:
        key = (checkpoint.folder, options["code"], options["dtype"])
        if key not in loaded:
            loaded[key] = load(checkpoint, spec, **options)
        return loaded[key]

    _score_slowly_in_forks()
    lpips = score.Lpips()
    score.Lpips = lambda weights=None: lpips  # type: ignore[misc,assignment]
    render.load_pipeline = load_once  # type: ignore[assignment]
    options = {"code": "builtin", "dtype": "bf16", "device": "cpu", "offload": "none"}
    load_once(
        find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2), FLEX2, **options, trust_remote_code=False
    )


def _score_slowly_in_forks() -> None:
    from harness.runs import scoring_pool

    score, context = scoring_pool._run, multiprocessing.get_context

    @functools.wraps(score)
    def slowly(job: Any) -> Any:
        time.sleep(SCORING)
        return score(job)

    scoring_pool._run = slowly
    multiprocessing.get_context = lambda method=None: context("fork")  # type: ignore[assignment]
    os.fork = _forked  # type: ignore[assignment]


_fork = os.fork


def _forked() -> int:
    """Fork, and hear Ctrl-C after it: Python drops it in hooks that run for a fork and not for a spawn."""
    pressed: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    process = _fork()
    signal.signal(signal.SIGINT, handler)
    if pressed and process:
        signal.raise_signal(signal.SIGINT)
    return process


def run_child(main: Callable[[], None], work: Path, fault: Fault) -> Ended:
    """Run ``main`` in a forked child whose folder is ``work``, and wait for its end."""
    log, counts, renders = (work.with_name(f"{work.name}.{name}") for name in ("log", "events", "renders"))
    for path in (log, counts, renders):
        path.write_text("")
    ready, begin = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(lambda: (os.write(begin, b"."), main()), work, fault, log, counts, renders)
    os.read(ready, 1)
    os.close(ready)
    os.close(begin)
    signalled = started = time.monotonic()
    if fault.after is not None:
        time.sleep(fault.after)
        signalled = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, fault.signal)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ended = time.monotonic()
    return Ended(
        code,
        ended - started,
        ended - signalled,
        log.read_text(errors="replace"),
        len(counts.read_bytes()),
        len(renders.read_bytes()),
    )


def _child(main: Callable[[], Any], work: Path, fault: Fault, log: Path, counts: Path, renders: Path) -> None:
    code = 70
    try:
        os.chdir(work)
        with log.open("ab", buffering=0) as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        _count_renders(renders)
        _count_events(work, counts, fault)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
        limit = fault.size if fault.size is not None else fault.full
        if limit is not None:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.full is None else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        print(f"uncaught {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        try:
            sys.stdout.flush()
        finally:  # whatever interrupts it, a child never goes on as its parent
            os._exit(code)


def _count_events(work: Path, counts: Path, fault: Fault) -> None:
    """Write a byte per file-system event within ``work``, and stop at the one that ``fault`` names."""
    out, seen, child = os.open(counts, os.O_WRONLY | os.O_APPEND), 0, os.getpid()

    def happened() -> None:
        nonlocal seen
        if os.getpid() != child:  # a scoring process
            return
        seen += 1
        os.write(out, b".")
        if seen == fault.event:
            os.kill(os.getpid(), fault.signal)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and (not arguments or _within(work, arguments[0])):
            happened()

    force = os.fsync

    def fsync(handle: int) -> None:
        happened()
        force(handle)
        happened()

    sys.addaudithook(hook)
    os.fsync = fsync


def _within(work: Path, path: Any) -> bool:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    return bool(text) and (not text.startswith("/") or text.startswith(str(work)))


def _count_renders(renders: Path) -> None:
    from harness.pipeline.renderer import ReferenceRenderer

    render = ReferenceRenderer.render

    def counted(self: ReferenceRenderer, *arguments: Any, **options: Any) -> Any:
        done = render(self, *arguments, **options)
        with renders.open("ab") as stream:
            stream.write(b".")
        return done

    ReferenceRenderer.render = counted  # type: ignore[method-assign]

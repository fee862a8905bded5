"""Watch a job folder: a round whenever it holds a new file that is finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError, JobError
from harness.watching.job_files import Stamp, look, samples_of

POLL_SECONDS = 2.0

MAX_FAILURES = 2
"""So many rounds of bad input in a row end a watch: what the trainer was changing is changed by then."""


def watch_job(
    job_dir: Path,
    config: Path,
    run_round: Callable[[], int],
    *,
    until_step: int | None = None,
    idle_seconds: float | None = None,
    interrupted: int = 130,
) -> int:
    """Call ``run_round`` whenever a job has new finished previews or checkpoints; return its last exit code.

    Args:
        config: the job's config.
        run_round: makes a round and returns its exit code; 1 stands for none.
        until_step: end when this step, or a later one, has all its previews.
        idle_seconds: end when nothing new came for so long.
        interrupted: the exit code of a round that Ctrl-C ended, and the watch with it.

    Raises:
        JobError: the job is gone, or its config cannot be read, where ``until_step`` asks how many previews a
            step has.
    """
    samples = samples_of(config) if until_step is not None else 0
    done: frozenset[Stamp] = frozenset()
    code, failures, last = 1, 0, time.monotonic()
    while True:
        if not job_dir.is_dir():
            fix = "repeat the command when it is: it goes on with the same run"
            raise JobError("is not there any more", file=job_dir, fix=fix)
        files = look(job_dir)
        if files.steps and files.finished - done:
            code = run_round()
            failures = failures + 1 if code == HarnessError.exit_code else 0
            if code == interrupted or failures == MAX_FAILURES:
                return code
            done = done if failures else done | files.finished
            last = time.monotonic()
        elif (until_step is not None and files.reaches(until_step, samples)) or (
            idle_seconds is not None and time.monotonic() - last >= idle_seconds
        ):
            return code
        else:
            time.sleep(POLL_SECONDS)

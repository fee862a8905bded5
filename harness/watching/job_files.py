"""Which files of a running training are finished: nothing is read while it is still being written."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, JobError
from harness.importers.aitoolkit.config_file import load_config
from harness.importers.aitoolkit.job_folder import PreviewFile, find_previews
from harness.importers.aitoolkit.job_samples import JobSamples
from harness.metrics.image_file import check_image
from harness.schema.lora_header import read_header

QUIET_SECONDS = 2.0
"""A file that changed within so long is looked at twice, so long apart."""

DAMAGED_SECONDS = 60.0
"""A file that cannot be read is still being written, unless it has not changed for so long."""

Stamp = tuple[Path, int, int]
"""A file, its size in bytes, and when it was changed, ns."""

_STEP = re.compile(r"_(\d{9,})\.safetensors")


@dataclass(frozen=True)
class JobFiles:
    """The files of a job at one moment.

    Attributes:
        finished: previews and checkpoints that are whole, or damaged for good.
        later: previews that are to be left for later: they, or the checkpoint of their step, are not.
        steps: how many finished previews each step has.
    """

    finished: frozenset[Stamp]
    later: frozenset[Path]
    steps: dict[int, int]

    def reaches(self, step: int, samples: int) -> bool:
        """Whether a step from ``step`` on has all its ``samples`` previews, and none is still written."""
        return not self.later and any(
            number >= step and count >= samples for number, count in self.steps.items()
        )


def look(job_dir: Path) -> JobFiles:
    """Return which files of a job are finished; waits a moment where one was changed just now."""
    previews = _previews(job_dir)
    checkpoints = list(job_dir.glob("*.safetensors"))
    before = _stamps([*(preview.path for preview in previews), *checkpoints])
    if any(time.time_ns() - changed < QUIET_SECONDS * 1e9 for _, _, changed in before.values()):
        time.sleep(QUIET_SECONDS)
    now = _stamps(before)
    finished = {path for path, stamp in now.items() if stamp == before[path] and _is_whole(stamp)}
    unfinished = {path for path in checkpoints if path not in finished}
    later = {
        preview.path
        for preview in previews
        if preview.path not in finished or any(_belongs(path, preview.step) for path in unfinished)
    }
    steps: dict[int, int] = {}
    for preview in previews:
        if preview.path not in later and not preview.runs_later:
            steps[preview.step] = steps.get(preview.step, 0) + 1
    done = frozenset(now[path] for path in finished - later)
    return JobFiles(done, frozenset(later), steps)


def samples_of(file: Path) -> int:
    """Return how many previews a job makes at each step, by its config.

    Raises:
        JobError: the config cannot be read.
    """
    return len(JobSamples(file, load_config(file).process[0]).of("sample", None))


def _previews(job_dir: Path) -> list[PreviewFile]:
    """Return a job's previews; none where it has made none yet."""
    try:
        return find_previews(job_dir)
    except JobError:
        return []


def _stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """Return size and time of the files that are there; a trainer may delete checkpoints at any moment."""
    stamps = {}
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue
        stamps[path] = (path, found.st_size, found.st_mtime_ns)
    return stamps


def _is_whole(stamp: Stamp) -> bool:
    """Whether a file can be read, or is damaged for good."""
    path, _, changed = stamp
    if time.time_ns() - changed > DAMAGED_SECONDS * 1e9:
        return True
    try:
        if path.suffix == ".safetensors":
            read_header(path)
        else:
            check_image(path)
    except (HarnessError, OSError):
        return False
    return True


def _belongs(checkpoint: Path, step: int) -> bool:
    """Whether a checkpoint may be that of ``step``; one without a number may be of any."""
    found = _STEP.search(checkpoint.name)
    return found is None or int(found[1]) == step

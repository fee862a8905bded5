"""Which files of a running training are finished: nothing is read while it is still being written."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness._util.words import some
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
        unfinished: why a preview or a checkpoint is not finished.
    """

    finished: frozenset[Stamp]
    later: frozenset[Path]
    steps: dict[int, int]
    unfinished: dict[Path, str]

    def reaches(self, step: int, samples: int) -> bool:
        """Whether a step from ``step`` on has all its ``samples`` previews, and none is still written."""
        return not self.later and any(
            number >= step and count >= samples for number, count in self.steps.items()
        )

    def waiting(self) -> str | None:
        """Say how many previews are left for later, and for which files; None where none is."""
        if not self.later:
            return None
        which = "1 preview is" if len(self.later) == 1 else f"{len(self.later)} previews are"
        why = some((f"{path.name} {found}" for path, found in self.unfinished.items()), limit=2)
        return f"{which} left for later: {why}"


def look(job_dir: Path) -> JobFiles:
    """Return which files of a job are finished; waits a moment where one was changed just now."""
    previews = _previews(job_dir)
    checkpoints = set(job_dir.glob("*.safetensors"))
    files = [*(preview.path for preview in previews), *checkpoints]
    before = _stamps(files)
    if any(time.time_ns() - changed < QUIET_SECONDS * 1e9 for _, _, changed in before.values()):
        time.sleep(QUIET_SECONDS)
    now = _stamps(before)
    found = {path: _why_unfinished(before.get(path), now.get(path)) for path in files}
    unfinished = {path: why for path, why in found.items() if why is not None}
    finished = found.keys() - unfinished.keys()
    missing = unfinished.keys() & checkpoints
    later = {
        preview.path
        for preview in previews
        if preview.path in unfinished or any(_belongs(path, preview.step) for path in missing)
    }
    steps: dict[int, int] = {}
    for preview in previews:
        if preview.path not in later and not preview.runs_later:
            steps[preview.step] = steps.get(preview.step, 0) + 1
    done = frozenset(now[path] for path in finished - later)
    return JobFiles(done, frozenset(later), steps, unfinished)


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


def _why_unfinished(before: Stamp | None, now: Stamp | None) -> str | None:
    """Return why a file is not finished; None where it can be read, or is damaged for good."""
    if now is None:
        return "is not there any more"
    if now != before:
        return "is still being written"
    path, _, changed = now
    if time.time_ns() - changed > DAMAGED_SECONDS * 1e9:
        return None
    try:
        if path.suffix == ".safetensors":
            read_header(path)
        else:
            check_image(path)
    except HarnessError as error:
        return error.found
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None


def _belongs(checkpoint: Path, step: int) -> bool:
    """Whether a checkpoint may be that of ``step``; one without a number may be of any."""
    found = _STEP.search(checkpoint.name)
    return found is None or int(found[1]) == step

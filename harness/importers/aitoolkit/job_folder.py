"""Previews and checkpoints on disk, by the names that AI Toolkit gives them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness._util.words import some
from harness.errors import JobError

SAMPLES = "samples"

MAX_LOG_HEAD = 1 << 18
"""Bytes at the start of a log that are searched for a version."""

_LOG_VERSION = re.compile(r"\bai[- ]?toolkit\b[^\n\d]{0,20}(\d+\.\d+\.\d+)\b", re.IGNORECASE)

LIKE_PREVIEW = "1731980000000__000000250_3.jpg"

_WRITTEN = ("jpg", "jpeg", "png", "webp")
"""Suffixes of the formats that AI Toolkit knows as ``sample.format``."""

_OTHERS = ("avif", "bmp", "gif", "heic", "jfif", "jp2", "jpe", "jxl", "mp4", "tga", "tif", "tiff", "webm")
"""Suffixes of what else Pillow writes for it, or a converter made of previews."""

_SUFFIX = rf"\.(?:{'|'.join(_WRITTEN + _OTHERS)})"
_IMAGE = re.compile(rf".+{_SUFFIX}", re.IGNORECASE)
_PREVIEW = re.compile(rf"(?P<ms>\d+)__(?P<step>\d{{9,}})_(?P<index>\d+){_SUFFIX}", re.IGNORECASE)


@dataclass(frozen=True)
class PreviewFile:
    """One preview by its name ``{unix_ms}__{step:09d}_{index}.{ext}``.

    Attributes:
        unix_ms: when it was saved, milliseconds since 1970.
        runs_later: how many times the job sampled this step again afterwards.
        run: which time this is, from 0.
        copies: names of the same preview in other formats, which are left out.
    """

    path: Path
    unix_ms: int
    step: int
    index: int
    run: int = 0
    runs_later: int = 0
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoints:
    """The saved LoRAs of the job ``name``: ``numbered`` by step, ``final`` without one, ``other`` renamed."""

    name: str
    numbered: dict[int, Path]
    final: Path | None
    other: tuple[Path, ...] = ()


def find_previews(job_dir: Path, image_format: str | None = None) -> list[PreviewFile]:
    """Return a job's previews by step, then time of the run, then index; also those that cannot be read.

    ``job_dir`` may be the samples folder itself. Other folders and files of other names are left alone.

    Args:
        image_format: ``sample.format``, which tells a preview from a copy in another format.

    Raises:
        JobError: there are none.
    """
    folder = samples_folder(job_dir)
    try:
        paths = [path for path in folder.iterdir() if not path.is_dir()]
    except OSError as error:
        fix = "a job without previews has nothing to compare"
        raise JobError(f"cannot be read ({error.strerror})", file=folder, fix=fix) from error
    same: dict[tuple[int, int, int], list[Path]] = {}
    for path in paths:
        if match := _PREVIEW.fullmatch(path.name):
            key = (int(match["ms"]), int(match["step"]), int(match["index"]))
            same.setdefault(key, []).append(path)
    if not same:
        fix = f"names are like {LIKE_PREVIEW}"
        raise JobError("; ".join(["holds no previews", *strangers(folder)]), file=folder, fix=fix)
    by_step: dict[int, list[PreviewFile]] = {}
    for (unix_ms, step, index), files in same.items():
        files.sort(key=lambda path: (*_not_written(path, image_format), path.name))
        copies = tuple(path.name for path in files[1:])
        by_step.setdefault(step, []).append(PreviewFile(files[0], unix_ms, step, index, copies=copies))
    return [file for step in sorted(by_step) for file in _in_runs(by_step[step])]


def _not_written(path: Path, image_format: str | None) -> tuple[bool, bool]:
    """Return what orders files of one preview: one of the trainer's formats first, the config's before it."""
    suffix = path.suffix.lower().removeprefix(".")
    return suffix not in _WRITTEN, suffix != image_format


def samples_folder(job_dir: Path) -> Path:
    """Return the folder of a job's previews: ``samples``, or ``job_dir`` where they lie in it."""
    return job_dir / SAMPLES if (job_dir / SAMPLES).is_dir() or not _holds_previews(job_dir) else job_dir


def strangers(folder: Path) -> list[str]:
    """Say which images of a samples folder no preview is: those of other names, and those in subfolders."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    found = [
        entry.name
        for entry in entries
        if _IMAGE.fullmatch(entry.name) and not _PREVIEW.fullmatch(entry.name) and entry.is_file()
    ]
    said = [f"{_images(len(found))} of another name: {some(found)}"] if found else []
    for subfolder in sorted(entry for entry in entries if entry.is_dir()):
        with suppress(OSError):
            if inside := sum(_IMAGE.fullmatch(each.name) is not None for each in subfolder.iterdir()):
                said.append(f"{_images(inside)} in the subfolder {subfolder.name}")
    return said


def _images(count: int) -> str:
    return f"{count} image{'s' if count > 1 else ''}"


def _holds_previews(folder: Path) -> bool:
    return folder.is_dir() and any(_PREVIEW.fullmatch(path.name) for path in folder.iterdir())


def _in_runs(files: Iterable[PreviewFile]) -> list[PreviewFile]:
    """Number the runs of one step: a run ends where the index starts again."""
    runs: list[list[PreviewFile]] = []
    for file in sorted(files, key=lambda file: (file.unix_ms, file.index)):
        if not runs or file.index <= runs[-1][-1].index:
            runs.append([])
        runs[-1].append(file)
    return [
        replace(file, run=run, runs_later=len(runs) - 1 - run)
        for run, members in enumerate(runs)
        for file in members
    ]


def select_steps(files: list[PreviewFile], steps: str) -> list[PreviewFile]:
    """Return the previews of ``all`` steps, of the ``last`` one, or of some like ``250,500-1000``.

    Raises:
        JobError: ``steps`` is none of these, or names a step or range without previews.
    """
    present = sorted({file.step for file in files})
    if steps == "all":
        return files
    if steps == "last":
        return [file for file in files if file.step == present[-1]]
    wanted, missing = set(), []
    for part in steps.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            fix = "give all, last, or numbers and ranges like 250,500-1000"
            raise JobError(f"{steps!r} names no steps", field="--steps", fix=fix)
        first, last = int(match[1]), int(match[2] or match[1])
        found = {step for step in present if first <= step <= last}
        wanted |= found
        if not found:
            missing.append(part.strip())
    if missing:
        fix = f"the job has previews at {', '.join(map(str, present))}"
        raise JobError(f"no previews at step {', '.join(missing)}", field="--steps", fix=fix)
    return [file for file in files if file.step in wanted]


def find_checkpoints(job_dir: Path, name: str) -> Checkpoints:
    """Return the LoRA files of the job ``name``; some versions put ``_LoRA`` behind the name.

    macOS and its zips write ``é`` as two characters: names are compared in one form.
    """
    pattern = re.compile(re.escape(_composed(name)) + r"(?:_LoRA)?(?:_(?P<step>\d{9,}))?\.safetensors")
    numbered, final, other = {}, None, []
    for path in sorted(path for path in job_dir.glob("*.safetensors") if not path.is_dir()):
        match = pattern.fullmatch(_composed(path.name))
        if match is None:
            other.append(path)
        elif match["step"] is None:
            final = path
        else:
            numbered[int(match["step"])] = path
    return Checkpoints(name, numbered, final, tuple(other))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def log_software(job_dir: Path) -> str | None:
    """Return the trainer and version that the newest log of the web UI names, or None."""
    logs = sorted(job_dir.glob("logs/*_log.txt"), key=lambda path: int(re.sub(r"\D", "", path.stem) or 0))
    for path in (job_dir / "log.txt", *reversed(logs)):
        try:
            with path.open("rb") as file:
                head = file.read(MAX_LOG_HEAD).decode("utf-8", "replace")
        except OSError:
            continue
        if match := _LOG_VERSION.search(head):
            return f"ai-toolkit {match[1]}"
    return None

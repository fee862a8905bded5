"""Previews and checkpoints on disk, by the names that AI Toolkit gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import JobError

SAMPLES = "samples"

_PREVIEW = re.compile(r"(?P<ms>\d+)__(?P<step>\d{9,})_(?P<index>\d+)\.(?:jpe?g|png|webp)", re.IGNORECASE)


@dataclass(frozen=True)
class PreviewFile:
    """One preview by its name ``{unix_ms}__{step:09d}_{index}.{ext}``.

    Attributes:
        unix_ms: when it was saved, milliseconds since 1970.
        runs_later: how many times the job sampled this step again afterwards.
        run: which time this is, from 0.
    """

    path: Path
    unix_ms: int
    step: int
    index: int
    run: int = 0
    runs_later: int = 0


@dataclass(frozen=True)
class Checkpoints:
    """The saved LoRAs of a job: ``numbered`` by step, ``final`` without one; ``other`` has another name."""

    numbered: dict[int, Path]
    final: Path | None
    other: tuple[Path, ...] = ()


def find_previews(job_dir: Path) -> list[PreviewFile]:
    """Return a job's previews by step, then time of the run, then index.

    ``.thumbs``, ``.tmp`` and files with other names are left alone.

    Raises:
        JobError: there are none.
    """
    folder = job_dir / SAMPLES
    try:
        paths = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        fix = "a job without previews has nothing to compare"
        raise JobError(f"cannot be read ({error.strerror})", file=folder, fix=fix) from error
    by_step: dict[int, list[PreviewFile]] = {}
    for path in paths:
        if match := _PREVIEW.fullmatch(path.name):
            file = PreviewFile(path, int(match["ms"]), int(match["step"]), int(match["index"]))
            by_step.setdefault(file.step, []).append(file)
    if not by_step:
        fix = "names are like 1731980000000__000000250_3.jpg"
        raise JobError("holds no previews", file=folder, fix=fix)
    return [file for step in sorted(by_step) for file in _in_runs(by_step[step])]


def _in_runs(files: Iterable[PreviewFile]) -> list[PreviewFile]:
    """Number the runs of one step: a run ends where the index starts again."""
    runs: list[list[PreviewFile]] = []
    for file in sorted(files, key=lambda file: (file.unix_ms, file.index)):
        if not runs or file.index <= runs[-1][-1].index:
            runs.append([])
        runs[-1].append(file)
    return [
        PreviewFile(file.path, file.unix_ms, file.step, file.index, run, len(runs) - 1 - run)
        for run, members in enumerate(runs)
        for file in members
    ]


def select_steps(files: list[PreviewFile], steps: str) -> list[PreviewFile]:
    """Return the previews of ``all`` steps, of the ``last`` one, or of a list like ``250,500``.

    Raises:
        JobError: ``steps`` is none of these, or names a step without previews.
    """
    present = sorted({file.step for file in files})
    if steps == "all":
        return files
    if steps == "last":
        wanted = {present[-1]}
    else:
        try:
            wanted = {int(part) for part in steps.split(",")}
        except ValueError:
            fix = "give all, last, or numbers like 250,500"
            raise JobError(f"{steps!r} names no steps", field="--steps", fix=fix) from None
    if missing := sorted(wanted.difference(present)):
        fix = f"the job has previews at {', '.join(map(str, present))}"
        found = f"no previews at step {', '.join(map(str, missing))}"
        raise JobError(found, field="--steps", fix=fix)
    return [file for file in files if file.step in wanted]


def find_checkpoints(job_dir: Path, name: str) -> Checkpoints:
    """Return the LoRA files of the job ``name``; some versions put ``_LoRA`` behind the name."""
    pattern = re.compile(re.escape(name) + r"(?:_LoRA)?(?:_(?P<step>\d{9,}))?\.safetensors")
    numbered, final, other = {}, None, []
    for path in sorted(path for path in job_dir.glob("*.safetensors") if path.is_file()):
        match = pattern.fullmatch(path.name)
        if match is None:
            other.append(path)
        elif match["step"] is None:
            final = path
        else:
            numbered[int(match["step"])] = path
    return Checkpoints(numbered, final, tuple(other))


def preview_size(path: Path) -> tuple[int, int, bool]:
    """Return (width, height, animated) of a preview, decoded once to be sure that it is whole.

    Raises:
        ImageError: unreadable or truncated.
    """
    from harness.metrics.images import read_image

    if animated := _animated_webp(path):
        return (*animated, True)
    return (*read_image(path).size, False)


def _animated_webp(path: Path) -> tuple[int, int] | None:
    """Return the canvas of an animated WebP (``VP8X`` header with the animation bit), else None."""
    try:
        with path.open("rb") as file:
            head = file.read(30)
    except OSError:
        return None
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8X" or not head[20] & 2:
        return None
    return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1

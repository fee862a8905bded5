"""What of a job's images is left out of an import, in few lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness._util.words import some
from harness.errors import HarnessError, ImageError
from harness.importers.aitoolkit.job_folder import LIKE_PREVIEW, samples_folder, strangers


def together(refused: Iterable[HarnessError]) -> list[HarnessError]:
    """Return what was refused, with one error for all images of which the same was found."""
    groups: dict[object, list[HarnessError]] = {}
    for error in refused:
        key = (error.found, error.fix) if isinstance(error, ImageError) else error
        groups.setdefault(key, []).append(error)
    return [_of_all(errors) if len(errors) > 1 else errors[0] for errors in groups.values()]


def all_refused(refused: Sequence[HarnessError], folder: Path) -> HarnessError:
    """Return one error for the images of ``folder``, of which none can be used, with what is wrong."""
    if len(refused) == 1:
        return refused[0]
    found = some((_said(error, folder) for error in refused), joint="; ")
    return ImageError(f"no preview can be used: {found}", file=folder, fix=refused[0].fix)


def notes_on_left_out(job_dir: Path, refused: Sequence[HarnessError]) -> list[str]:
    """Say which images make no case, and why."""
    folder = samples_folder(job_dir)
    notes = [f"left out: {_said(error, folder)}" for error in refused if isinstance(error, ImageError)]
    others = f"previews are files of {folder.name} with names like {LIKE_PREVIEW}"
    return notes + [f"left out: {found}; {others}" for found in strangers(folder)]


def _said(error: HarnessError, folder: Path) -> str:
    return error.found if error.file == folder else f"{Path(str(error.file)).name} {error.found}"


def _of_all(errors: Sequence[HarnessError]) -> ImageError:
    paths = [Path(str(error.file)) for error in errors]
    found = f"each of {len(errors)} previews {errors[0].found}: {some(path.name for path in paths)}"
    return ImageError(found, file=paths[0].parent, fix=errors[0].fix)

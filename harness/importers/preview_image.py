"""A preview on disk: its size, whether it moves, and its hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness._util.atomic_files import sha256_file
from harness.errors import ImageError
from harness.importers.file_record import FileRecord


@dataclass(frozen=True)
class PreviewImage:
    """What an import records of an image.

    Attributes:
        size: (width, height) in pixels.
        animated: it has several frames.
    """

    size: tuple[int, int]
    sha256: str
    animated: bool = False


def read_preview(path: Path) -> PreviewImage:
    """Read a preview, and be sure that it is whole.

    Raises:
        ImageError: unreadable or truncated.
    """
    from harness.metrics.image_file import check_image

    if (size := _animated_webp(path)) is not None:
        return PreviewImage(size, sha256_file(path), animated=True)
    return PreviewImage(*check_image(path))


def read_previews(paths: Sequence[Path], record: FileRecord) -> Iterator[PreviewImage | ImageError]:
    """Yield each preview in order, or why it cannot be read; unchanged ones are taken from ``record``."""
    for path in paths:
        known = record.recall(path) or {}
        if "size" in known:
            width, height = known["size"]
            yield PreviewImage((width, height), known["sha256"], known["animated"])
            continue
        try:
            image = read_preview(path)
        except ImageError as error:
            yield error
        else:
            record.remember(path, size=list(image.size), animated=image.animated, sha256=image.sha256)
            yield image


def _animated_webp(path: Path) -> tuple[int, int] | None:
    """Return the canvas of an animated WebP (``VP8X`` header with the animation bit), else None."""
    if not path.is_file():
        return None  # opening a pipe would wait for its writer
    try:
        with path.open("rb") as file:
            head = file.read(30)
    except OSError:
        return None
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8X" or not head[20] & 2:
        return None
    return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1

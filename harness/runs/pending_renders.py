"""Renders that wait for their scores, on disk: whatever ends the run, they need not be made again.

Each lies beside its row's images, hidden, until its row is stored. It is valid as a stored row would be: for
the same case, variant and row key. Nothing waits for the disk; a file that a power failure tore does not have
its recorded hash and is passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._util.atomic_files import write_bytes
from harness.metrics.scores import Record, Scores
from harness.runs.planned import Planned
from harness.runs.scorer import pixels_sha256
from harness.schema.render import Render
from harness.schema.result import Rendered

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = ".pending.safetensors"


class _About(Record):
    """What is known of a render beside its pixels, by the names of ``Render``."""

    rendered: Rendered
    seconds: dict[str, float]
    latents_sha256: str | None
    warnings: tuple[str, ...]
    key: str | None
    against_reference: Scores | None = None


class _Record(Record):
    """A waiting render: the key of its row, the hash of its pixels, and what is known of it."""

    row_key: str
    image_sha256: str
    about: _About


class PendingRenders:
    """The renders of a run folder whose rows are not stored yet.

    Args:
        run: the run folder, opened for writing.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def add(self, item: Planned, render: Render) -> None:
        """Write a render to disk, whole or not at all.

        Raises:
            OSError: the disk refuses.
        """
        from safetensors.numpy import save

        about = _About(**{name: getattr(render, name) for name in _About.model_fields})
        record = _Record(row_key=item.key, image_sha256=pixels_sha256(render.image), about=about)
        tensors: dict[str, NDArray[Any]] = {"image": render.image}
        if render.latents is not None:
            tensors["latents"] = render.latents
        data = save(tensors, metadata={"about": record.model_dump_json()})
        write_bytes(self._file(item), data, lasting=False)

    def find(self, item: Planned) -> Render | None:
        """Return the render that waits for its row; None where there is none, or not as it was."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._file(item), framework="numpy") as stored:
                record = _Record.model_validate_json((stored.metadata() or {}).get("about", ""))
                image = stored.get_tensor("image")
                latents = stored.get_tensor("latents") if "latents" in stored.keys() else None  # noqa: SIM118
            whole = (record.row_key, record.image_sha256) == (item.key, pixels_sha256(image))
        except (OSError, ValueError, SafetensorError):
            whole = False
        if not whole:
            self.discard(item)
            return None
        return Render(image=image, latents=latents, **dict(record.about))

    def discard(self, item: Planned) -> None:
        """Remove the render of a row that is stored, or that is not wanted."""
        self._file(item).unlink(missing_ok=True)

    def _file(self, item: Planned) -> Path:
        return self._run / "images" / item.case.id / item.variant / FILE

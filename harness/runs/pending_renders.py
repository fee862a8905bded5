"""Renders that wait for their scores, on disk: whatever ends the run, they need not be made again.

Each lies beside its row's images, hidden, until its row is stored. It counts as a stored row would: for the
same case under the same variant, where the row's key is the same. A power failure may tear one: its hash
tells, and no render waits for the disk.
"""

from __future__ import annotations

from pathlib import Path

from harness._util.atomic_files import write_bytes
from harness.runs.plan import Planned
from harness.runs.scorer import pixels_sha256
from harness.schema.render import Render
from harness.schema.result import Frozen, Rendered

FILE = ".waiting.safetensors"


class _About(Frozen):
    """What a row says of a render, beside its pixels."""

    row_key: str
    image_sha256: str
    rendered: Rendered
    seconds: dict[str, float]
    latents_sha256: str | None
    warnings: tuple[str, ...]
    render_key: str | None


class Waiting:
    """The renders of a run folder whose rows are not stored yet.

    Args:
        run: the run folder, opened for writing.
        keeps: new renders are put there; where each is scored at once, they need not be.
    """

    def __init__(self, run: Path, *, keeps: bool) -> None:
        self._run, self._keeps = run, keeps

    def keep(self, item: Planned, render: Render) -> None:
        """Put a render there, whole or not at all; one that a run holds already is there already.

        Raises:
            OSError: the disk refuses.
        """
        if not self._keeps or render.taken_from is not None:
            return
        from safetensors.numpy import save

        about = _About(
            row_key=item.key,
            image_sha256=pixels_sha256(render.image),
            rendered=render.rendered,
            seconds=render.seconds,
            latents_sha256=render.latents_sha256,
            warnings=render.warnings,
            render_key=render.key,
        )
        data = save({"image": render.image}, metadata={"about": about.model_dump_json()})
        write_bytes(self._file(item), data, lasting=False)

    def find(self, item: Planned) -> Render | None:
        """Return the render that waits for its row; None where there is none, or not as it was."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._file(item), framework="numpy") as stored:
                about = _About.model_validate_json((stored.metadata() or {}).get("about", ""))
                image = stored.get_tensor("image")
            whole = (about.row_key, about.image_sha256) == (item.key, pixels_sha256(image))
        except (OSError, ValueError, SafetensorError):
            whole = False
        if not whole:
            self.drop(item)
            return None
        return Render(
            image=image,
            rendered=about.rendered,
            seconds=about.seconds,
            latents_sha256=about.latents_sha256,
            warnings=about.warnings,
            key=about.render_key,
        )

    def drop(self, item: Planned) -> None:
        """Remove a render whose row is stored, or which is not wanted."""
        self._file(item).unlink(missing_ok=True)

    def _file(self, item: Planned) -> Path:
        return self._run / "images" / item.case.id / item.variant / FILE

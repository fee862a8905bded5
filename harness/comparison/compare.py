"""Compare an inference image with the preview that it was meant to be."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._util.given_paths import path_list
from harness.comparison.advice import advice
from harness.comparison.image_request import DIALECT_OF
from harness.comparison.registration import why_another_size
from harness.comparison.remaining import remaining
from harness.comparison.setting_row import SettingRow, State
from harness.comparison.static_difference import static_difference
from harness.errors import ImageError
from harness.importers.image_metadata.inference_settings import Tool
from harness.importers.image_metadata.read_image import InferenceImage, read_inference_image
from harness.metrics.images import is_flat, load_rgb
from harness.schema.case import Case

if TYPE_CHECKING:
    from harness.comparison.proof import Proof
    from harness.runs.plan import RunOptions
    from harness.schema.render import Renderer

BUDGET = 40.0
"""Renders of the case's own length that the search of one image's settings may spend."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """What separates an inference image from its preview.

    Attributes:
        rows: every setting that is known of one side, as ``static_difference`` gives them, and those that
            rendering found.
        dialect: the tool's way of rendering: ``reference``, ``comfyui`` or ``forge``.
        proof: what rendering showed; None where nothing was rendered.
        incomparable: why pixels cannot be compared; None where they can.
        changes: what to change in the tool, one line each.
        remaining: what no setting of the tool removes.
    """

    case: Case
    image: InferenceImage
    rows: list[SettingRow]
    dialect: str
    proof: Proof | None
    incomparable: str | None
    changes: list[str]
    remaining: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[SettingRow]:
        """The settings that somebody chose differently."""
        return [row for row in self.rows if row.state is State.DIFFERS]

    @property
    def tools_own(self) -> list[SettingRow]:
        """What the tool does differently whatever is set."""
        return [row for row in self.rows if row.state is State.TOOL]

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        settings = self.image.settings
        return {
            "case": self.case.id,
            "image": self.image.path.name,
            "tool": settings.tool.value,
            "source": settings.source,
            "incomparable": self.incomparable,
            "differences": [_row_json(row) for row in self.differences],
            "dialect": {"name": self.dialect, "settings": [_row_json(row) for row in self.tools_own]},
            "remaining": self.remaining,
            "unknown": [
                *settings.unknown,
                *(row.setting for row in self.rows if row.state is State.UNKNOWN),
            ],
            "notes": [*settings.notes, *settings.loras_off],
            "changes": self.changes,
            "proof": self.proof.to_json() if self.proof else None,
        }


def compare(
    case: Case,
    image: str | os.PathLike[str],
    *,
    request: Sequence[str | os.PathLike[str]] = (),
    settings: str | os.PathLike[str] | None = None,
    static: bool = False,
    options: RunOptions | None = None,
    renderer: Renderer | None = None,
    budget: float = BUDGET,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Say what separates ``image`` from the preview of ``case``, and prove it by rendering.

    Args:
        image: an inference image that was meant to be the case's preview: PNG, JPEG or WebP.
        request: the reference server's request JSON, and its result if there is one.
        settings: a settings file written by hand, in a case file's words.
        static: leave out what needs a model.
        budget: renders of the case's own length to search settings with; to begin and to prove takes more.
        tell: called with one line as the proof goes on.

    Raises:
        ImageError: image or preview cannot be read.
        RequestError: a file beside the image cannot be used.
        HarnessError: base, LoRA or device cannot be used.
    """
    image = Path(image)
    request = path_list(request)
    settings = None if settings is None else Path(settings)
    read = read_inference_image(image, request=request, settings=settings)
    _note_preview(case, read)
    rows = static_difference(case, read)
    incomparable = _incomparable(case, read) or (_unreadable(case, image) if static else None)
    if static or incomparable is not None:
        return _comparison(case, read, rows, None, incomparable)
    from harness.comparison.proof import prove

    proof = prove(case, read, rows, options=options, renderer=renderer, budget=budget, tell=tell)
    return _comparison(case, read, proof.rows, proof, None)


def _incomparable(case: Case, image: InferenceImage) -> str | None:
    if case.incomparable is not None:
        return f"the preview itself cannot be re-run: {case.incomparable}"
    if image.size != case.preview.size:
        return why_another_size(image.path, case.preview_path)
    try:
        flat = is_flat(load_rgb(image.path))
    except ImageError:
        return None  # a proof says what of it cannot be read
    what = "the model or the decoder gave NaN, a VAE in fp16 for instance, which no setting explains"
    return f"the image is one flat colour: {what}" if flat else None


def _unreadable(case: Case, image: Path) -> str | None:
    """Return why the pixels of image or preview cannot be compared, which a proof would stop at."""
    for what, path in (("the image", image), ("the preview", case.preview_path)):
        try:
            load_rgb(path)
        except ImageError as error:
            return f"{what} {error.found}"
    return None


def _note_preview(case: Case, image: InferenceImage) -> None:
    """Note an image that is the job's own: a mistake, or a render that is right to the last bit."""
    data = image.path.read_bytes()
    for each in sorted(case.preview_path.parent.iterdir()):
        if each.is_file() and each.stat().st_size == len(data) and each.read_bytes() == data:
            which = "the preview itself" if each == case.preview_path else "another preview of the job"
            image.settings.notes.append(f"its file is {which}, {each.name}, byte for byte")
            return
    with suppress(ImageError):  # what cannot be read is said elsewhere
        if image.size == case.preview.size and (load_rgb(image.path) == load_rgb(case.preview_path)).all():
            image.settings.notes.append("its pixels are those of the preview, in another file")


def _comparison(
    case: Case,
    image: InferenceImage,
    rows: list[SettingRow],
    proof: Proof | None,
    incomparable: str | None,
) -> Comparison:
    tool = image.settings.tool
    dialect = proof.dialect if proof else DIALECT_OF.get(tool, "reference")
    if tool is Tool.UNKNOWN and proof is not None:
        tool = {"comfyui": Tool.COMFYUI, "forge": Tool.FORGE}.get(proof.dialect, Tool.DIFFUSERS)
    changes = advice(case, tool, rows)
    left = proof.remaining if proof else remaining(rows, dialect)
    return Comparison(case, image, rows, dialect, proof, incomparable, changes, left)


def _row_json(row: SettingRow) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "state"} | {"effect": row.effect}

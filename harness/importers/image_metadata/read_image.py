"""Read what an inference image, or a file beside it, says of its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RequestError
from harness.importers.image_metadata.comfyui import read_comfyui
from harness.importers.image_metadata.inference_settings import InferenceSettings, Tool
from harness.importers.image_metadata.infotext import read_infotext
from harness.importers.image_metadata.invokeai import read_invokeai
from harness.importers.image_metadata.server_files import read_server_files
from harness.importers.image_metadata.settings_file import read_settings_file
from harness.importers.image_metadata.swarmui import read_swarmui
from harness.importers.image_metadata.text_chunks import ImageTexts, read_texts

_WEBP_TAGS = {"Model": "prompt:", "Make": "workflow:"}
"""EXIF tags that ComfyUI writes into WebP, and what its text begins with there."""


@dataclass(frozen=True)
class InferenceImage:
    """An inference image and what is known of how it was made.

    Attributes:
        size: (width, height) of the file, pixels.
        settings: what is stated; ``source`` says where, and that nothing is where that is so.
    """

    path: Path
    format: str
    size: tuple[int, int]
    settings: InferenceSettings


def read_inference_image(
    path: Path, *, request: Sequence[Path] = (), settings: Path | None = None
) -> InferenceImage:
    """Read what an image says of itself, or what the files given beside it say; no model is loaded.

    Args:
        request: the reference server's request JSON, and its result if there is one.
        settings: a settings file written by hand.

    Raises:
        ImageError: the image cannot be read.
        RequestError: a file beside it cannot be used, or both kinds are given.
    """
    texts = read_texts(path)
    if request and settings is not None:
        raise RequestError("is given beside --request", field="--settings", fix="give one of the two")
    if request:
        stated = read_server_files(request, path)
    elif settings is not None:
        stated = read_settings_file(settings)
    else:
        stated = stated_in(texts, file_name=path.name)
    return InferenceImage(path, texts.format, texts.size, stated)


def stated_in(texts: ImageTexts, *, file_name: str = "") -> InferenceSettings:
    """Return what the texts of an image state of its settings; of several records the first that is one."""
    found = _record(texts, file_name)
    if found is None:
        found = InferenceSettings(Tool.UNKNOWN, "no metadata")
        unread = [key for key in texts.texts if key in {"prompt", "parameters", "workflow", "UserComment"}]
        for key in unread:
            found.did_not_understand(f"the text {key!r}, which is no record that is known")
    for key in texts.too_long:
        found.did_not_understand(f"the text {key[:40]!r}, which is too long to be read")
    return found


def _record(texts: ImageTexts, file_name: str) -> InferenceSettings | None:
    known = texts.texts
    if "prompt" in known:
        chunk = f"{texts.format} text chunk 'prompt'"
        graph = read_comfyui(known["prompt"], known.get("workflow"), source=chunk, file_name=file_name)
        if graph is not None:
            return graph
    if (graph := _in_exif(known, file_name)) is not None:
        return graph
    for key in ("parameters", "UserComment", "sui_image_params", "ImageDescription"):
        if key in known:
            source = f"{texts.format} text {key!r}"
            found = read_swarmui(known[key], source=source) or read_infotext(known[key], source=source)
            if found is not None:
                return found
    if "invokeai_metadata" in known:
        return read_invokeai(known["invokeai_metadata"], source="PNG text chunk 'invokeai_metadata'")
    return None


def _in_exif(known: dict[str, str], file_name: str) -> InferenceSettings | None:
    found = {
        key: known[tag].removeprefix(f"{key}:")
        for tag, head in _WEBP_TAGS.items()
        if known.get(tag, "").startswith(head)
        for key in (head.rstrip(":"),)
    }
    if "prompt" not in found:
        return None
    return read_comfyui(
        found["prompt"], found.get("workflow"), source="EXIF tag 0x0110, prompt", file_name=file_name
    )

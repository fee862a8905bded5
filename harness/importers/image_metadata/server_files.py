"""The reference server's request and result JSON: it writes nothing into the image itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from harness._util.atomic_files import read_bytes
from harness.errors import RequestError
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.importers.image_metadata.json_text import entries, integer, read_object, text
from harness.importers.inference_request import RANDOM_SEED, InferenceRequest, load_request
from harness.importers.server_request import resolve_prompt

_OUTPUT = re.compile(r"_output_(\d{1,6})\.\w+\Z")


def read_server_files(files: Sequence[Path], image: Path) -> InferenceSettings:
    """Return what a request states of ``image``, with the seed that its result names where one is given.

    Args:
        files: one request, and its result if there is one, in any order.

    Raises:
        RequestError: no request among them, not valid, or nothing tells which of its prompts made the image.
    """
    results = [(path, found) for path in files if (found := _result(path)) is not None]
    known = {path for path, _ in results}
    requests = [path for path in files if path not in known]
    if len(requests) != 1 or len(results) > 1:
        given = f"{len(requests)} requests and {len(results)} results"
        raise RequestError(
            given, field="--request", fix="give one request JSON, and its result if there is one"
        )
    body, beside = load_request(requests[0])
    answer, outputs = results[0] if results else (requests[0], [])
    if not results and beside is not None:
        outputs = [output.model_dump() for output in beside.images]
    index = _index(body, outputs, image, requests[0])
    settings = _stated(body, index, requests[0])
    if index < len(outputs):
        drawn = integer(outputs[index].get("seed"))
        settings.stated.pop("seed", None)
        settings.put("seed", drawn, f"{answer.name}, outputs.images[{index}].seed")
    return settings


def _result(path: Path) -> list[dict[str, object]] | None:
    """Return the images that a result lists; None where ``path`` is a request, also one with its result."""
    try:
        found = read_object(read_bytes(path).decode("utf-8-sig"))
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror})", file=path) from error
    except UnicodeDecodeError as error:
        raise RequestError(f"is not valid JSON ({error})", file=path) from error
    outputs = found.get("outputs") if found and not {"prompts", "input"} & found.keys() else None
    return entries(outputs.get("images")) if isinstance(outputs, dict) else None


def _index(body: InferenceRequest, outputs: list[dict[str, object]], image: Path, file: Path) -> int:
    if len(body.prompts) == 1:
        return 0
    for place, output in enumerate(outputs):
        if PurePosixPath(text(output.get("file_path")) or "").name == image.name:
            return place
    match = _OUTPUT.search(image.name)
    if match and int(match[1]) < len(body.prompts):
        return int(match[1])
    raise RequestError(
        f"has {len(body.prompts)} prompts, and nothing tells which of them made {image.name}",
        file=file,
        field="prompts",
        fix="give a request with that prompt alone, or its result JSON too",
    )


def _stated(body: InferenceRequest, index: int, file: Path) -> InferenceSettings:
    settings = InferenceSettings(Tool.REFERENCE_SERVER, f"the request {file.name}")
    item, resolved = body.prompts[index], resolve_prompt(body, index)
    for name in ("prompt", "neg", "width", "height", "seed", "sample_steps", "guidance_scale"):
        given = getattr(item, name) is not None
        place = f"prompts[{index}].{name}" if given else f"prompts[{index}] has no {name}"
        value = getattr(resolved, name)
        if (name, value) != ("seed", RANDOM_SEED):
            settings.put(name, value, place, default=not given)
        else:
            settings.notes.append("the seed is -1: the server drew one, which its result names")
    settings.loras = []
    for lora in body.loras[:1]:
        multiplier = 1.0 if lora.network_multiplier is None else lora.network_multiplier
        settings.loras.append(LoraUse(lora.path, multiplier, "loras[0]"))
    for name in ("ctrl_img", "ctrl_img_1", "ctrl_img_2", "ctrl_img_3"):
        if getattr(item, name):
            settings.notes.append(f"{name} is given, and the reference's pipeline does not use it")
    return settings

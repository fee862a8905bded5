"""The reference server's request JSON as a source of settings.

Fields, limits and seed rule: ``runcomfy-com/ai-toolkit-inference``, ``src/schemas/request.py`` and
``src/tasks/executor.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from harness._util.atomic_files import read_bytes
from harness._util.validation import first_problem
from harness.errors import RequestError
from harness.importers.draft import Draft, ImportResult, SourceFile, safe_name
from harness.importers.preview_image import PreviewImage, read_preview
from harness.importers.writer import write_cases
from harness.schema.case import Base, SampleSettings, Strict, Trained
from harness.schema.lora_file import LoraFile, inspect_lora
from harness.schema.spec import FLEX2

_LIMITS, _DEFAULTS = FLEX2.limits, FLEX2.defaults
RANDOM_SEED = -1


class LoraItem(Strict):
    """One LoRA of a request; only the first one is used."""

    path: str = Field(min_length=1)
    transformer: Literal["low", "high"] | None = None
    network_multiplier: float | None = Field(
        None, ge=_LIMITS.network_multiplier[0], le=_LIMITS.network_multiplier[1]
    )


class PromptItem(Strict):
    """One prompt of a request; None takes the reference's default. Sizes in pixels."""

    prompt: str
    trigger_word: str | None = None
    width: int | None = Field(None, ge=_LIMITS.size[0], le=_LIMITS.size[1])
    height: int | None = Field(None, ge=_LIMITS.size[0], le=_LIMITS.size[1])
    guidance_scale: float | None = Field(None, ge=_LIMITS.guidance_scale[0], le=_LIMITS.guidance_scale[1])
    sample_steps: int | None = Field(None, ge=_LIMITS.sample_steps[0], le=_LIMITS.sample_steps[1])
    neg: str | None = None
    seed: int | None = Field(None, ge=RANDOM_SEED, lt=2**64)
    sampler: str | None = None
    num_frames: int | None = Field(None, ge=1, le=1000)
    fps: int | None = Field(None, ge=1, le=120)
    resolution: Literal["Default", "High"] | None = None
    ctrl_img: str | None = None
    ctrl_img_1: str | None = None
    ctrl_img_2: str | None = None
    ctrl_img_3: str | None = None


class InferenceRequest(Strict):
    """The body of ``POST /v1/inference``; the last three fields do not concern Flex.2."""

    model: Literal["flex2"]
    loras: list[LoraItem] = Field(default_factory=list)
    trigger_word: str | None = None
    prompts: list[PromptItem] = Field(min_length=1)
    hf_token: str | None = None
    kv_cache: bool | None = None
    match_target_res: bool | None = None


def import_request(
    request: Path, previews: Sequence[Path], *, out: Path, base: Base | None = None
) -> ImportResult:
    """Import images as cases, with the settings of a request JSON of the reference server.

    Args:
        request: the JSON file; the LoRA's path in it is relative to it.
        previews: one image per prompt, in the order of the prompts.
        out: folder for the case files and copies of images and LoRA.
        base: the base model; None takes the repository that the reference loads.

    Raises:
        RequestError: broken JSON, unknown keys, another model, a value out of range, or images that are not
            one per prompt.
        ImageError: an image is unreadable or truncated.
        LoraError: the LoRA is missing, unsafe, broken or of another kind.
        JobError: ``out`` cannot be written or is in use.
    """
    body = load_request(request)
    if len(previews) != len(body.prompts):
        found = f"has {len(body.prompts)} prompts for {len(previews)} images"
        fix = "give one --preview per prompt, in order"
        raise RequestError(found, file=request, field="prompts", fix=fix)
    lora = _lora(request, body)
    drafts = [_draft(body, index, preview, lora) for index, preview in enumerate(previews)]
    return write_cases(
        drafts,
        job=safe_name(request.stem),
        base=base or Base(repo=FLEX2.hub_repo),
        out=out,
        previews={draft.preview_name or draft.preview.path.name: draft.preview.path for draft in drafts},
        assumptions=_assumptions(body, given=base),
    )


def load_request(path: Path) -> InferenceRequest:
    """Read a request JSON.

    Raises:
        RequestError: not readable, not JSON, or not a valid request for Flex.2; names the field.
    """
    try:
        data = json.loads(read_bytes(path).decode("utf-8-sig"))
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror})", file=path) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"is not valid JSON ({error})", file=path) from error
    if not isinstance(data, dict):
        raise RequestError(f"holds {type(data).__name__}, not a mapping", file=path)
    try:
        return InferenceRequest.model_validate(data)
    except ValidationError as error:
        field, found, fix = first_problem(error, InferenceRequest)
        field = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field) if field else None
        raise RequestError(found, file=path, field=field, fix=fix) from error


def resolve_prompt(body: InferenceRequest, index: int) -> SampleSettings:
    """Return the settings that the reference renders prompt ``index`` with.

    ``[trigger]`` becomes the prompt's trigger word, else the request's; a prompt without a seed takes the
    default seed plus its position.
    """
    item = body.prompts[index]
    given = item.model_dump(include=set(SampleSettings.model_fields), exclude_none=True)
    trigger = item.trigger_word or body.trigger_word
    if trigger:
        given["prompt"] = item.prompt.replace("[trigger]", trigger)
    return SampleSettings(**{"seed": _DEFAULTS.seed + index, **given})


def _lora(request: Path, body: InferenceRequest) -> LoraFile | None:
    if not body.loras:
        return None
    path = body.loras[0].path
    if "://" in path:
        fix = "download the file and give its path"
        raise RequestError(f"{path!r} is a URL", file=request, field="loras[0].path", fix=fix)
    try:
        return inspect_lora(request.parent / path)
    except ValueError as error:
        raise RequestError(f"{path!r} cannot be a path", file=request, field="loras[0].path") from error


def _draft(body: InferenceRequest, index: int, preview: Path, lora: LoraFile | None) -> Draft:
    image = read_preview(preview)
    item, settings = body.prompts[index], resolve_prompt(body, index)
    multiplier = body.loras[0].network_multiplier if body.loras else None
    return Draft(
        stem=str(index),
        preview=SourceFile(preview, image.sha256),
        preview_name=f"{index}_{preview.name}",
        image_size=image.size,
        step=None,
        index=index,
        lora=SourceFile(lora.path, lora.sha256) if lora else None,
        network_multiplier=_DEFAULTS.network_multiplier if multiplier is None else multiplier,
        settings=settings,
        trained=Trained(
            arch=body.model,
            software=lora.software if lora else None,
            trigger_word=item.trigger_word or body.trigger_word,
            prompt_template=item.prompt,
            sampler=item.sampler,
        ),
        note="" if lora else "the request names no LoRA: the base alone is rendered",
        incomparable=_problem(item, settings, image),
    )


def _problem(item: PromptItem, settings: SampleSettings, image: PreviewImage) -> str | None:
    if settings.seed == RANDOM_SEED:
        return "its seed is -1: the server drew a random one"
    if image.animated or (item.num_frames or 1) > 1:
        return "it is a video"
    if any((item.ctrl_img, item.ctrl_img_1, item.ctrl_img_2, item.ctrl_img_3)):
        return "the request has a control image, which the reference's Flex.2 pipeline does not use"
    if (found := image.size) != (expected := FLEX2.snap(settings.width, settings.height)):
        return f"the image is {found[0]}x{found[1]}, but the request renders {expected[0]}x{expected[1]}"
    return None


def _assumptions(body: InferenceRequest, *, given: Base | None) -> list[str]:
    lines = []
    if given is None:
        lines.append(f"the base is {FLEX2.hub_repo}, as the reference loads it; no revision is known")
    if len(body.loras) > 1:
        lines.append(f"of {len(body.loras)} LoRAs only the first is used, as in the reference")
    if any(item.seed is None for item in body.prompts):
        lines.append(f"prompts without a seed take {_DEFAULTS.seed} plus their position, as in the reference")
    if any(item.sampler for item in body.prompts):
        lines.append("sampler is ignored: the reference's Flex.2 pipeline has one scheduler")
    return lines

"""Import images with the settings of a request to the reference server.

Seed rule and refusals: ``runcomfy-com/ai-toolkit-inference``, ``src/tasks/executor.py`` and
``src/api/v1/inference.py``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness._util.given_paths import path_list
from harness.errors import RequestError
from harness.importers.draft import Draft, ImportResult, SourceFile, safe_name
from harness.importers.inference_request import (
    RANDOM_SEED,
    InferenceRequest,
    PromptItem,
    load_request,
    load_result,
)
from harness.importers.preview_image import PreviewImage, read_preview
from harness.importers.writer import write_cases
from harness.schema.base import Base
from harness.schema.case_parts import SampleSettings, Trained
from harness.schema.lora_file import LoraFile, inspect_lora
from harness.schema.server_result import ServerResult
from harness.schema.spec import Defaults, ModelSpec, spec_of

_DEFAULTS = Defaults()


def import_request(
    request: str | os.PathLike[str],
    previews: Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    base: Base | None = None,
    result: str | os.PathLike[str] | None = None,
) -> ImportResult:
    """Import images as cases, with the settings of a request JSON of the reference server.

    Args:
        request: the JSON file; the LoRA's path in it is relative to it.
        previews: one image per prompt, in the order of the prompts.
        out: folder for the case files and copies of images and LoRA.
        base: the base model; None takes the repository that the reference loads.
        result: the server's result JSON, which names the seed that each image was drawn with.

    Raises:
        RequestError: broken JSON, another model, a value out of range, a request that the server refuses, or
            images or results that are not one per prompt.
        ImageError: an image is unreadable or truncated.
        LoraError: the LoRA is missing, unsafe, broken or of another kind.
        JobError: ``out`` cannot be written or is in use.
    """
    request = Path(request)
    previews = path_list(previews)
    out = Path(out)
    result = None if result is None else Path(result)
    body, beside = load_request(request)
    answer = load_result(result) if result is not None else beside
    _check_count(request, body, len(previews), "images", "give one --preview per prompt, in order")
    if answer is not None:
        count = len(answer.images)
        _check_count(result or request, body, count, "results", "give the result of this very request")
    _refuse_as_the_server(request, body)
    source = _Source(body, answer, _lora(request, body))
    drafts = [source.draft(index, preview) for index, preview in enumerate(previews)]
    return write_cases(
        drafts,
        job=safe_name(request.stem),
        base=base or Base(repo=spec_of(body.model).hub_repo),
        out=out,
        previews={draft.preview_name or draft.preview.path.name: draft.preview.path for draft in drafts},
        assumptions=_assumptions(body, answer, given=base),
    )


def resolve_prompt(body: InferenceRequest, index: int, drawn: int | None = None) -> SampleSettings:
    """Return the settings that the reference renders prompt ``index`` with.

    ``[trigger]`` becomes the prompt's trigger word, else the request's; a prompt without a seed takes the
    default seed plus its position.

    Args:
        drawn: the seed that the server says it used.
    """
    item = body.prompts[index]
    given = item.model_dump(include=set(SampleSettings.model_fields), exclude_none=True)
    trigger = item.trigger_word or body.trigger_word
    if trigger:
        given["prompt"] = item.prompt.replace("[trigger]", trigger)
    if drawn is not None:
        given["seed"] = drawn
    return SampleSettings(**{"seed": _DEFAULTS.seed + index, **given})


def _check_count(file: Path, body: InferenceRequest, count: int, what: str, fix: str) -> None:
    if count != len(body.prompts):
        found = f"has {len(body.prompts)} prompts for {count} {what}"
        raise RequestError(found, file=file, field="prompts", fix=fix)


def _refuse_as_the_server(request: Path, body: InferenceRequest) -> None:
    """Refuse what the server answers with an error, since no image can come of it."""
    if len(body.loras) > 1:
        found = f"names {len(body.loras)} LoRAs, which the server refuses (400 SINGLE_LORA_ONLY)"
        raise RequestError(found, file=request, field="loras", fix="name the one that the images show")
    if body.loras and body.loras[0].transformer is not None:
        found = "is refused by the server for this model (400 MOE_FORMAT_NOT_SUPPORTED)"
        raise RequestError(found, file=request, field="loras[0].transformer", fix="leave it out")


def _lora(request: Path, body: InferenceRequest) -> LoraFile | None:
    if not body.loras:
        return None
    path = body.loras[0].path
    if "://" in path:
        fix = "download the file and give its path"
        raise RequestError(f"{path!r} is a URL", file=request, field="loras[0].path", fix=fix)
    try:
        if not (request.parent / path).exists():
            fix = "bring the LoRA here, and give its path, absolute or from the request's folder"
            raise RequestError(f"{path!r} does not exist", file=request, field="loras[0].path", fix=fix)
        return inspect_lora(request.parent / path)
    except ValueError as error:
        raise RequestError(f"{path!r} cannot be a path", file=request, field="loras[0].path") from error


@dataclass(frozen=True)
class _Source:
    body: InferenceRequest
    answer: ServerResult | None
    lora: LoraFile | None

    def draft(self, index: int, preview: Path) -> Draft:
        image = read_preview(preview)
        item, lora = self.body.prompts[index], self.lora
        drawn = self.answer.images[index].seed if self.answer is not None else None
        settings = resolve_prompt(self.body, index, drawn)
        multiplier = self.body.loras[0].network_multiplier if self.body.loras else None
        return Draft(
            stem=str(index),
            model=self.body.model,
            preview=SourceFile(preview, image.sha256),
            preview_name=f"{index}_{preview.name}",
            image_size=image.size,
            step=None,
            index=index,
            lora=SourceFile(lora.path, lora.sha256) if lora else None,
            network_multiplier=_DEFAULTS.network_multiplier if multiplier is None else multiplier,
            settings=settings,
            trained=Trained(
                arch=self.body.model,
                software=lora.software if lora else None,
                trigger_word=item.trigger_word or self.body.trigger_word,
                prompt_template=item.prompt,
                sampler=item.sampler,
            ),
            note="" if lora else "the request names no LoRA: the base alone is rendered",
            incomparable=_problem(spec_of(self.body.model), item, settings, image),
            assumptions=[*(lora.notes if lora else ()), *self._dropped(index)],
        )

    def _dropped(self, index: int) -> list[str]:
        """Name the keys that the server drops, those of other prompts left out."""
        other = tuple(f"prompts[{each}]." for each in range(len(self.body.prompts)) if each != index)
        keys = [key for key in self.body.unknown_keys() if not key.startswith(other)]
        return [f"the server drops keys that it does not know: {', '.join(keys)}"] if keys else []


def _problem(spec: ModelSpec, item: PromptItem, settings: SampleSettings, image: PreviewImage) -> str | None:
    if settings.seed == RANDOM_SEED:
        return (
            "its seed is -1: the server drew a random one; its result JSON names it: give that with --result"
        )
    if image.animated or (item.num_frames or 1) > 1:
        return "it is a video"
    if any((item.ctrl_img, item.ctrl_img_1, item.ctrl_img_2, item.ctrl_img_3)):
        return f"the request has a control image, which the reference's {spec.label} pipeline does not use"
    if (found := image.size) != (expected := spec.snap(settings.width, settings.height)):
        return f"the image is {found[0]}x{found[1]}, but the request renders {expected[0]}x{expected[1]}"
    return None


def _assumptions(body: InferenceRequest, answer: ServerResult | None, *, given: Base | None) -> list[str]:
    lines = []
    if given is None:
        lines.append(
            f"the base is {spec_of(body.model).hub_repo}, as the reference loads it; no revision is known"
        )
    if not body.loras:
        lines.append("the request names no LoRA, which the server refuses; the base alone is rendered")
    if answer is None and any(item.seed is None for item in body.prompts):
        lines.append(f"prompts without a seed take {_DEFAULTS.seed} plus their position, as in the reference")
    if any(item.sampler for item in body.prompts):
        lines.append("sampler is ignored: the reference's pipeline has one scheduler")
    return lines

"""Prove by rendering which settings an inference image had, and what separates it from its preview."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from harness.comparison.found_rows import found_rows, kernel_rows, with_found
from harness.comparison.image_request import DIALECT_OF, image_request
from harness.comparison.image_search import Found, search_image, with_other_kernel
from harness.comparison.ladder import Pixels, Rung, climb, psnr
from harness.comparison.remaining import remaining
from harness.comparison.setting_row import SettingRow, State
from harness.diagnosis.search import Tell
from harness.diagnosis.trials import TrialRenderer, calls_of, rms
from harness.importers.image_metadata.read_image import InferenceImage
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.schema.render import REFERENCE_DIALECT, Renderer, RenderRequest
from harness.sweeps.axis import Context

MAX_STATED_RMS = 10.0
"""Root mean square difference (0 to 255; 28 dB) up to which stated settings count as those of the image.

With a wrong seed, LoRA or prompt it is far above."""

DECIDING = ("prompt", "seed", "sample_steps", "guidance_scale", "lora")
"""Settings without which an image cannot be rendered again without a search."""


@dataclass(frozen=True)
class Proof:
    """What rendering showed.

    Attributes:
        rows: the rows of the static difference, completed by what was found.
        dialect: the tool's way of rendering that the image has.
        reached: whether the image's own settings, rendered here, give the image.
        psnr: how near they come, dB, after the image's codec; None where they are identical.
        rungs: from the image to the preview, one difference after the other.
        image: what the image's own settings render here, uint8, H×W×3.
        reference: the re-run of the preview, uint8, H×W×3.
        remaining: what no setting removes, in sentences.
        renders: renders that called the transformer, whole or in part.
        spent: their transformer calls, in those of the case's own render.
    """

    rows: list[SettingRow]
    dialect: str
    reached: bool
    psnr: float | None
    rungs: list[Rung]
    image: Pixels
    reference: Pixels
    remaining: list[str]
    renders: int
    spent: float

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        return {
            "reached": self.reached,
            "identical": self.psnr is None,
            "psnr": self.psnr,
            "renders": self.renders,
            "spent": round(self.spent, 2),
            "ladder": [dataclasses.asdict(rung) for rung in self.rungs],
        }


def prove(
    case: Case,
    image: InferenceImage,
    rows: list[SettingRow],
    *,
    options: RunOptions | None,
    renderer: Renderer | None,
    budget: float,
    tell: Tell,
) -> Proof:
    """Render the image's own settings in its tool's dialect; search what they are where it does not say.

    Raises:
        HarnessError: base, LoRA or device cannot be used.
    """
    from harness.runs.session import open_renderer

    options = options or RunOptions()
    with open_renderer([case], options, renderer) as (device, made):
        context = Context(case, request_of(case, options, device), device)
        return _Prover(context, image, made, budget, tell).prove(rows)


class _Prover:
    def __init__(
        self, context: Context, image: InferenceImage, renderer: Renderer, budget: float, tell: Tell
    ) -> None:
        self._context, self._image, self._renderer = context, image, renderer
        self._budget, self._tell = budget, tell
        self._codec = codec_of(image)
        self._target = load_rgb(image.path)
        self._made: dict[RenderRequest, Pixels] = {}
        self._renders, self._spent = 0, 0.0

    def prove(self, rows: list[SettingRow]) -> Proof:
        """Return the proof; what the image does not state is searched."""
        unknown = {row.setting for row in rows if row.state is State.UNKNOWN}
        stated, problems = image_request(self._context.case, self._context.request, self._image.settings)
        dialect = DIALECT_OF.get(self._image.settings.tool, "reference")
        if not unknown & set(DECIDING):
            self._tell(f"rendering the image's own settings in the dialect of {dialect}")
            stated = self._nearer_kernel(stated)
            if self._distance(stated) <= MAX_STATED_RMS:
                return self._proof(rows, stated, dialect, problems, reached=True)
            self._tell("they do not give the image: searching what it had")
        found = search_image(
            self._context, self._image.path, self._codec, self._renderer, self._budget, self._tell
        )
        if not unknown & set(DECIDING) and found.trial.distance > self._distance(stated):
            return self._proof(rows, stated, dialect, problems, reached=False)
        return self._searched(rows, found, [] if found.explained else problems)

    def _nearer_kernel(self, stated: RenderRequest) -> RenderRequest:
        """Return ``stated`` with the kernel of T5's attention that comes nearer; no image states it."""
        if self._distance(stated) in {0, math.inf} or stated.dialect != REFERENCE_DIALECT:
            return stated
        return min(stated, with_other_kernel(stated), key=self._distance)

    def _searched(self, rows: list[SettingRow], found: Found, problems: list[str]) -> Proof:
        self._renders += found.renders
        self._spent += found.spent
        request = dataclasses.replace(found.trial.request, stop_after=None)
        self._made[request] = found.trial.image
        settings: dict[str, Any] = dict(found.settings)
        new = found_rows(self._context.case, self._context, request, settings, found.dialect)
        rows = with_found(rows, new, explained=found.explained)
        return self._proof(rows, request, found.dialect, problems, reached=found.explained)

    def _proof(
        self,
        rows: list[SettingRow],
        request: RenderRequest,
        dialect: str,
        problems: list[str],
        *,
        reached: bool,
    ) -> Proof:
        own = self._context.request
        rows = [*rows, *kernel_rows(request, own, dialect)]
        preview = TrialRenderer(self._context, self._renderer)
        self._tell("taking one difference back after the other")
        rungs = climb(self._target, request, own, rows, self._render, preview.distance)
        near = psnr(self._distance(request))
        return Proof(
            rows=rows,
            dialect=dialect,
            reached=reached,
            psnr=near,
            rungs=rungs,
            image=self._render(request),
            reference=self._render(own),
            remaining=[*problems, *remaining(rows, dialect), *_unproved(near, reached=reached)],
            renders=self._renders,
            spent=self._spent,
        )

    def _distance(self, request: RenderRequest) -> float:
        """Return the root mean square difference of a request's picture from the image, after its codec."""
        made = self._render(request)
        if made.shape != self._target.shape:
            return float("inf")
        return rms(self._target, self._codec.apply(made))

    def _render(self, request: RenderRequest) -> Pixels:
        if request not in self._made:
            self._made[request] = self._renderer.render(request).image
            self._renders += 1
            self._spent += calls_of(request) / calls_of(self._context.request)
        return self._made[request]


def codec_of(image: InferenceImage) -> Codec:
    """Return how an image was encoded: a lossy WebP's quality is what its tool recorded of it."""
    codec = Codec.of(image.path)
    quality, method = (image.settings.value(f"webp_{name}") for name in ("quality", "method"))
    changes = {
        name: max(0, min(limit, int(value)))
        for name, value, limit in (("quality", quality, 100), ("method", method, 6))
        if value is not None
    }
    return dataclasses.replace(codec, **changes)  # type: ignore[arg-type]


def _unproved(near: float | None, *, reached: bool) -> list[str]:
    if not reached:
        return ["what was found does not give the image: something of it is not known here"]
    if near is not None:
        return [f"the tool's own arithmetic: the image is {near:g} dB from its settings rendered here"]
    return []

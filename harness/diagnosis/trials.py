"""Renders trials, each effective render once, and says how far they are from the preview."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.diagnosis.composition import Composition, compare
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.pipeline.schedulers import find_scheduler
from harness.schema.render import Render, Renderer, RenderRequest, Trajectory
from harness.schema.result import Rendered
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context
from harness.sweeps.axis_values import Value
from harness.sweeps.equal_renders import Effective, effective

if TYPE_CHECKING:
    from harness.metrics.lpips import Lpips
    from harness.metrics.scores import Scores

Pixels = NDArray[np.uint8]
Settings = Mapping[str, Value]


@dataclass(frozen=True)
class Trial:
    """One rendered set of changed settings.

    Attributes:
        settings: changed axes and their values; empty for the case's own request.
        distance: root mean square difference from the preview, codec-matched, 0 to 255; infinite for another
            size.
    """

    settings: Settings
    request: RenderRequest
    image: Pixels
    rendered: Rendered
    distance: float


class TrialRenderer:
    """The renderer and the preview of one diagnosis.

    Attributes:
        spent: transformer calls made, in those of the case's own render.
        renders: renders that called the transformer: whole, stopped early or followed.
    """

    def __init__(self, context: Context, renderer: Renderer) -> None:
        self.context = context
        self.spent = 0.0
        self.renders = 0
        self.preview: Pixels = load_rgb(context.case.preview_path)
        self._codec = Codec.of(context.case.preview_path)
        self._renderer = renderer
        self._made: dict[Effective, tuple[Pixels, Rendered]] = {}
        self._estimator = renderer.trajectories()
        self._trajectories: dict[Effective, Trajectory] = {}

    def request(self, settings: Settings, stop_after: int | None = None) -> RenderRequest:
        """Return the case's request with ``settings`` applied, in the order of the axes."""
        request = self.context.request
        for name in AXES:
            if name in settings:
                request = AXES[name].apply(self.context, request, settings[name])
        return dataclasses.replace(request, stop_after=stop_after)

    def effective(self, settings: Settings) -> Effective:
        """Return what ``settings`` really renders."""
        return effective(self.request(settings), self.context.device)

    @property
    def can_follow(self) -> bool:
        """Whether the renderer can estimate schedules."""
        return self._estimator is not None

    def trial(self, settings: Settings, stop_after: int | None = None) -> Trial:
        """Render ``settings``, or take the image from an equal render, and measure it."""
        request = self.request(settings, stop_after)
        key = effective(request, self.context.device)
        if key not in self._made:
            self._keep(key, self._renderer.render(request), calls_of(request))
        image, rendered = self._made[key]
        return Trial(settings, request, image, rendered, self.distance(image))

    def trace(self, settings: Settings) -> Trial:
        """Render ``settings`` as ``trial`` does, and keep what the model said, to follow schedules with."""
        request = self.request(settings)
        key = effective(request, self.context.device)
        if self._estimator is not None and key not in self._trajectories:
            made, self._trajectories[key] = self._estimator.record(request)
            self._keep(key, made, calls_of(request))
        return self.trial(settings)

    def follow(self, settings: Settings, base: Trial, stop_after: int | None = None) -> Pixels:
        """Estimate the image of ``settings`` with what the model said along ``base``, which was traced.

        Args:
            stop_after: stop early, and ask the model for the last call.
        """
        assert self._estimator is not None
        trajectory = self._trajectories[self.effective(base.settings)]
        made, calls = self._estimator.estimate(self.request(settings, stop_after), trajectory)
        self._count(calls)
        return made.image

    def _keep(self, key: Effective, made: Render, calls: int) -> None:
        self._made[key] = (made.image, made.rendered)
        self._count(calls)

    def distance(self, image: Pixels) -> float:
        """Return the root mean square difference of ``image``, codec-matched, from the preview."""
        if image.shape != self.preview.shape:
            return math.inf
        return rms(self.preview, self._codec.apply(image))

    def matched(self, image: Pixels) -> Pixels:
        """Return ``image`` as the preview's codec would leave it."""
        return self._codec.apply(image)

    def composition(self, trial: Trial) -> Composition:
        """Return whether a trial shows the preview's composition."""
        return compare(self.preview, trial.image)

    def scores(self, trial: Trial, lpips: Lpips) -> Scores | None:
        """Return a trial's codec-matched scores, or None for another size."""
        from harness.metrics.score_pair import score_images

        if trial.image.shape != self.preview.shape:
            return None
        return score_images(self.preview, self.matched(trial.image), lpips)

    def _count(self, calls: int) -> None:
        self.spent += calls / calls_of(self.context.request)
        self.renders += calls > 0


def calls_of(request: RenderRequest) -> int:
    """Return how often ``request`` calls the transformer."""
    calls = find_scheduler(request.scheduler).evaluations(request.sample_steps)
    return calls if request.stop_after is None else min(calls, request.stop_after)


def rms(a: Pixels, b: Pixels) -> float:
    """Return the root mean square difference of two images of one shape, 0 to 255."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))

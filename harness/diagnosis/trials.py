"""Renders trials, each effective render once, and says how far they are from the preview."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.diagnosis.composition import Composition, compare, correlation
from harness.errors import HarnessError
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.pipeline.schedulers import find_scheduler
from harness.schema.render import Render, Renderer, RenderRequest, Trajectory
from harness.schema.result import Rendered
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context
from harness.sweeps.axis_values import Value, show
from harness.sweeps.equal_renders import Effective, effective

if TYPE_CHECKING:
    from harness.metrics.lpips import Lpips
    from harness.metrics.scores import Scores

LOG = logging.getLogger(__name__)

MAX_TRAJECTORIES = 24
"""Trajectories that are kept; at 1024², one of 25 steps takes 13 MB of the device's memory."""

SHORTER, MIN_STEPS = 4, 3
"""By how much a render that only ranks is shorter, and how many steps it has at least."""

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

    @property
    def measures_floor(self) -> bool:
        """Whether another attention kernel was added to other settings, as is done to measure a floor."""
        return "attention" in self.settings and len(self.settings) > 1


@dataclass(frozen=True)
class ShortRender:
    """What a render of fewer steps says of settings.

    Attributes:
        distance: as of a trial.
        correlation: with the preview, of the coarse grids, -1 to 1; 0 for another size.
    """

    settings: Settings
    distance: float
    correlation: float


class TrialRenderer:
    """Renders the trials of one diagnosis, each effective render once, and measures them against the preview.

    Args:
        target: the image to explain in the preview's place.
        codec: how it was encoded, where its file does not say all of it.

    Attributes:
        spent: transformer calls made, in those of the case's own render.
        renders: renders that called the transformer: whole, stopped early or followed.
        made: the whole renders, in the order in which they were made.
        short_made: the short ones, likewise.
        left_out: settings that could not be rendered here, as a report calls them, with the reason.
    """

    def __init__(
        self, context: Context, renderer: Renderer, target: Path | None = None, codec: Codec | None = None
    ) -> None:
        self.context = context
        self.spent = 0.0
        self.renders = 0
        self.made: list[Trial] = []
        self.short_made: list[ShortRender] = []
        self.left_out: dict[str, str] = {}
        image = target or context.case.preview_path
        self.preview: Pixels = load_rgb(image)
        self._codec = codec or Codec.of(image)
        self._renderer = renderer
        self._images: dict[Effective, tuple[Pixels, Rendered]] = {}
        self._short: dict[Effective, Pixels] = {}
        self._estimator = renderer.trajectories()
        self._trajectories: dict[Effective, Trajectory] = {}
        self._estimates: dict[tuple[Effective, Effective], Pixels] = {}

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
        """Whether the renderer can estimate renders from a trajectory."""
        return self._estimator is not None

    def attempt(self, settings: Settings) -> Trial | None:
        """Return the trial of ``settings``, or None where it cannot be rendered here, which is noted."""
        if words(settings) in self.left_out:
            return None
        try:
            return self.trial(settings)
        except HarnessError as error:
            self.leave_out(settings, error)
            return None

    def leave_out(self, settings: Settings, error: HarnessError) -> None:
        """Note that ``settings`` cannot be rendered here."""
        self.left_out[words(settings)] = str(error)

    def trial(self, settings: Settings) -> Trial:
        """Render ``settings``, or take the image from an equal render, and measure it.

        Raises:
            HarnessError: it cannot be rendered here.
        """
        request = self.request(settings)
        key = effective(request, self.context.device)
        fresh = key not in self._images
        began = time.perf_counter()
        if fresh:
            if self._estimator is not None:
                self._record(key, request)
            else:
                self._store(key, self._renderer.render(request), request)
        image, rendered = self._images[key]
        trial = Trial(settings, request, image, rendered, self.distance(image))
        if fresh:
            LOG.info(
                "%s: %.2f of 255 from the preview, %.2f s, %s",
                words(settings), trial.distance, time.perf_counter() - began, rendered.engine,
            )  # fmt: skip
            self.made.append(trial)
        return trial

    def short(self, settings: Settings) -> ShortRender | None:
        """Render ``settings`` in a quarter of the steps, or return None where that cannot be done here."""
        request = self.request(settings)
        steps = max(MIN_STEPS, request.sample_steps // SHORTER)
        try:
            request = dataclasses.replace(request, sample_steps=min(steps, request.sample_steps))
            key = effective(request, self.context.device)
            fresh = key not in self._short
            if fresh:
                self._short[key] = self._renderer.render(request).image
                self._count(calls_of(request))
                LOG.info(
                    "%s, in %d steps: %.2f of 255 from the preview",
                    words(settings), steps, self.distance(self._short[key]),
                )  # fmt: skip
        except HarnessError as error:
            self.leave_out(settings, error)
            return None
        image = self._short[key]
        alike = correlation(self.preview, image) if image.shape == self.preview.shape else 0.0
        made = ShortRender(settings, self.distance(image), alike)
        if fresh:
            self.short_made.append(made)
        return made

    def is_made(self, settings: Settings) -> bool:
        """Whether ``settings`` were rendered whole already."""
        return self.effective(settings) in self._images

    def follow(self, settings: Settings, base: Trial, stop_after: int | None = None) -> Pixels:
        """Estimate the image of ``settings`` along the trajectory of ``base``.

        Args:
            stop_after: stop early, and call the model for the last step.

        Raises:
            HarnessError: it cannot be rendered here.
        """
        assert self._estimator is not None
        start, request = self.effective(base.settings), self.request(settings, stop_after)
        key = (start, effective(request, self.context.device))
        if key not in self._estimates:
            if start not in self._trajectories:
                self._record(start, base.request)
            made, calls = self._estimator.estimate(request, self._trajectories[start])
            self._estimates[key] = made.image
            self._count(calls)
        return self._estimates[key]

    def _record(self, key: Effective, request: RenderRequest) -> None:
        """Render whole, and keep the trajectory: the first one, and the last few."""
        assert self._estimator is not None
        made, self._trajectories[key] = self._estimator.record(request)
        for oldest in list(self._trajectories)[1:-MAX_TRAJECTORIES]:
            del self._trajectories[oldest]
        self._store(key, made, request)

    def _store(self, key: Effective, made: Render, request: RenderRequest) -> None:
        self._images[key] = (made.image, made.rendered)
        self._count(calls_of(request))

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
    return find_scheduler(request.scheduler).evaluations(request.sample_steps)


def rms(a: Pixels, b: Pixels) -> float:
    """Return the root mean square difference of two images of one shape, 0 to 255."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


def changed_axes(settings: Settings, base: Settings) -> set[str]:
    """Return the axes that ``settings`` change on top of ``base``; a static shift counts as one."""
    changed = settings.keys() - base.keys()
    return set(changed - {"dynamic_shifting"} or changed)


def words(settings: Settings) -> str:
    """Return settings as a report calls them."""
    return ", ".join(f"{name} = {show(value)}" for name, value in settings.items()) or "as recorded"


def on_other_kernel(trials: TrialRenderer, settings: Settings) -> Settings:
    """Return ``settings`` with T5's other kernel."""
    axis = AXES["t5_attention"]
    own = axis.read(trials.context, trials.request(settings))
    other = next(value for value in axis.candidates(trials.context) if value != own)
    return {**settings, axis.name: other}

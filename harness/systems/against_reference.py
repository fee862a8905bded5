"""A system under test beside the reference: is it the system that drifts, or the settings?"""

from __future__ import annotations

import dataclasses

from harness.metrics.lpips import Lpips
from harness.metrics.score_pair import score_images
from harness.schema.render import OnStep, Render, Renderer, RenderRequest


class AgainstReference(Renderer):
    """Renders every request by ``system``, and scores its image against that of ``reference``.

    The reference's image is encoded as the system encoded its own first.
    """

    def __init__(self, system: Renderer, reference: Renderer, lpips: Lpips) -> None:
        self._system, self._reference, self._lpips = system, reference, lpips

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Return the system's render, with ``against_reference`` set where both images have one size.

        Raises:
            HarnessError: as either renderer.
        """
        made = self._system.render(request, on_step)
        expected = self._reference.render(request).image
        if made.image.shape != expected.shape:
            return made
        if made.codec is not None:
            expected = made.codec.apply(expected)
        return dataclasses.replace(made, against_reference=score_images(expected, made.image, self._lpips))

    def close(self) -> None:
        """Close both."""
        self._system.close()
        self._reference.close()

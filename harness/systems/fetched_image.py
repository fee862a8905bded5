"""An image that another system under test made, as the file that it wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.errors import ImageError, RenderError
from harness.metrics.codec import Codec
from harness.metrics.images import Pixels, load_rgb
from harness.schema.render import Renderer, RenderRequest
from harness.schema.result import Rendered

UNKNOWN = "unknown"
_NOT_TOLD = (
    "sigmas_sha256", "dtype", "noise", "attention", "engine", "offload", "pipeline_sha256", "lora_mode",
    "revision",
)  # fmt: skip


@dataclass(frozen=True)
class FetchedImage:
    """The image's file, and the JSON files that say how it was asked for, where the image itself does not."""

    image: Path
    beside: list[Path] = field(default_factory=list)


class ImageSource(Renderer, Protocol):
    """A system under test that writes image files."""

    def fetch(self, request: RenderRequest, folder: Path) -> FetchedImage:
        """Render one request, and put the system's own file into ``folder``."""
        ...

    def check(self, request: RenderRequest) -> None:
        """Refuse what the system lacks, before anything is sent.

        Raises:
            ServerError: names it.
        """
        ...


def read_fetched(file: Path, name: str) -> tuple[Pixels, Codec]:
    """Return the H×W×3 pixels, 0 to 255, of a system's image, and how it was encoded.

    Raises:
        RenderError: it cannot be read; begins with ``name``.
    """
    try:
        return load_rgb(file), Codec.of(file)
    except ImageError as error:
        raise RenderError(f"{name} {error.found}") from error


def rendered_elsewhere(
    request: RenderRequest, *, size: tuple[int, int], seed: int, host: str, pipeline: str, base: str
) -> Rendered:
    """Return what is known of a render by another system; what it does not tell is ``unknown``.

    Args:
        size: (width, height) in pixels.
        seed: the one that it drew with.
    """
    lora: dict[str, Any] = {}
    if request.lora is not None:
        lora = {"lora_sha256": request.lora.sha256, "network_multiplier": request.lora.network_multiplier}
    return Rendered(
        width=size[0],
        height=size[1],
        steps=request.sample_steps,
        seed=seed,
        guidance_scale=request.guidance_scale,
        sigmas=[],
        device=f"server {host}",
        pipeline=pipeline,
        base=base,
        **lora,
        **dict.fromkeys(_NOT_TOLD, UNKNOWN),
    )

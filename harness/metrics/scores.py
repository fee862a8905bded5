"""The numbers that say how far two images are apart."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

MetricName = Literal["flip", "ssimulacra2", "jod"]
"""Metrics beside SSIM, LPIPS and PSNR, as fields of ``Scores``."""

METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)

MAX_PSNR = 48.0
"""dB; a difference of less than one level of 255, which nobody sees."""


def counted_psnr(psnr: float | None) -> float:
    """Return a PSNR in dB as it counts where two are compared: at most ``MAX_PSNR``; None is infinite."""
    return MAX_PSNR if psnr is None else min(psnr, MAX_PSNR)


class Record(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tile(Record):
    """The tile with the largest mean absolute difference."""

    x: int = Field(description="Left edge, pixels.")
    y: int = Field(description="Top edge, pixels.")
    size: int = Field(description="Edge length, pixels; tiles at the right and bottom edge may be cut.")
    mean_abs: float = Field(description="Mean absolute difference inside the tile, 0 to 255.")


class PixelStats(Record):
    """Differences between two uint8 RGB images of one size."""

    identical: bool = Field(description="Every channel of every pixel is equal.")
    max_abs: int = Field(description="Largest absolute difference of a channel, 0 to 255.")
    mean_abs: float = Field(description="Mean absolute difference over all channels, 0 to 255.")
    changed: float = Field(description="Share of pixels with any channel different, 0 to 1.")
    worst_tile: Tile


class Perceptual(Record):
    """Metrics that are measured only where they are asked for; None, and not written, where they were not."""

    flip: float | None = Field(None, description="Mean FLIP at 67 pixels a degree, 0 to 1; 0 is equal.")
    ssimulacra2: float | None = Field(None, description="SSIMULACRA2, at most 100, which is equal.")
    jod: float | None = Field(
        None, description="ColorVideoVDP on a 30-inch 4K display, JOD, at most 10, which is equal."
    )

    @model_serializer(mode="wrap")
    def _without_unmeasured(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if value is not None or key not in METRIC_NAMES}


class Scores(Perceptual):
    """Distance between two images."""

    ssim: float = Field(description="Structural similarity, -1 to 1; 1 is equal.")
    lpips: float = Field(description="LPIPS v0.1 (AlexNet), 0 and up; 0 is equal.")
    psnr: float | None = Field(description="dB; None where the images are identical (infinite).")
    pixels: PixelStats


class LatentDistance(Record):
    """How far latents are from the accepted ones."""

    cosine: float = Field(description="Cosine of the angle between them, -1 to 1; 1 is the same direction.")
    relative_l2: float = Field(description="Length of the difference by that of the accepted; 0 is equal.")

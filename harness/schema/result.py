"""One row of ``results.jsonl``: a verdict with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from harness.metrics.scores import METRIC_NAMES, LatentDistance, Perceptual, PixelStats, Record, Scores
from harness.schema.case import Case
from harness.schema.fields import CaseId, InnerPath
from harness.schema.metric_limits import Tolerance

REFERENCE = "reference"
"""The variant with the case's own settings."""

NO_BF16_KERNELS = "this processor has no bf16 kernels: products are computed in fp32 and rounded"
"""Why an engine was eager where nothing but the harness itself renders the same bits."""

NEAREST = ("nearest-before", "nearest-after")
"""Variants that render a preview without its checkpoint with the saved ones around it."""


class Verdict(StrEnum):
    """What a re-run says about its preview, best first."""

    MATCH = "match"
    DRIFT = "drift"
    REGRESSION = "regression"
    INCOMPARABLE = "incomparable"
    ERROR = "error"


class Rendered(Record):
    """The settings as they were rendered, not as they were asked for."""

    width: int
    height: int
    steps: int
    seed: int
    batch: int = Field(1, description="Images drawn in one call; the re-run is the first.")
    guidance_scale: float
    sigmas: list[float]
    sigmas_sha256: str
    scheduler: str = "FlowMatchEuler"
    dtype: str
    encoder_dtype: str | None = Field(None, description="Dtype that all of T5 was cast to, if it was.")
    quantize: str = Field("none", description="What was quantized, as a case file says it.")
    quantize_exclude: list[str] = Field(
        default_factory=list, description="Patterns of transformer layers that stayed unquantized."
    )
    noise: str = Field(description="Noise era of the first latents: 'legacy' or 'current'.")
    generator: str = Field("cpu", description="Device that drew the first latents.")
    attention: str
    engine: str = Field("eager", description="'exact': fast, and proved bit for bit; else 'eager'.")
    engine_reason: str = Field("", description="Why it was eager, or exact without compiled blocks.")
    max_sequence_length: int = Field(512, description="T5 tokens.")
    t5_attention: str | None = Field(None, description="'eager' or 'sdpa'; null in older rows.")
    device: str
    offload: str
    pipeline: str = Field(description="'hub' or 'builtin'.")
    pipeline_sha256: str = Field(description="Hash of the pipeline's source file.")
    lora_mode: str = Field(
        description="'fused', 'adapter', 'peft', 'fp32', 'merged', 'stochastic', 'unpacked' or 'none'."
    )
    lora_sha256: str | None
    network_multiplier: float | None
    dialect: dict[str, str] = Field(
        default_factory=dict, description="What is another tool's way; see Dialect."
    )
    base: str
    revision: str = Field(description="Commit of the repository, or a content fingerprint of the folder.")


class Images(Record):
    """Paths of a row's images, relative to the run folder."""

    preview: InnerPath
    rerun: InnerPath | None = None
    latents: InnerPath | None = Field(None, description="Sketch of the latents before decoding, 4 kB.")
    maps: dict[str, InnerPath] = Field(default_factory=dict, description="'difference', 'ssim', 'lpips'.")


Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One thing that a case shows by itself, before anything is rendered.

    Attributes:
        id: stable name, e.g. ``noise-era``.
        severity: ``error`` keeps a comparison from meaning anything, ``warning`` explains drift, ``info``
            is worth knowing.
        where: the field of the case file that it was read from.
        fix: what to do about it; empty where there is nothing to do.
    """

    id: str
    severity: Severity
    message: str
    where: str
    fix: str = ""


class Baseline(Record):
    """The accepted baseline that a row was judged against, and what has changed since it was accepted."""

    environment: str = Field(description="Key of the environment it was accepted in.")
    same_environment: bool = Field(description="The row was made in that environment too.")
    number: int = Field(1, description="Which of the results accepted there, from 1: the nearest one.")
    of: int = Field(1, description="How many results were accepted there.")
    identical: bool = Field(description="Every pixel of the re-run is as accepted.")
    latents_identical: bool | None = Field(
        None, description="So are the latents before decoding; None where one of the two is not known."
    )
    latent_distance: LatentDistance | None = Field(
        None, description="How far the latents are from the accepted ones, where both are there and differ."
    )
    latents_unread: str | None = Field(
        None, description="Which latents are damaged, where that keeps the distance from being known."
    )
    verdict: Verdict = Field(description="The verdict that was accepted.")
    scores: Scores | None = Field(description="The codec-matched scores that were accepted.")
    changes: list[str] = Field(description="What differs in the rendering or the environment, in words.")
    facts: dict[str, Any] = Field(
        default_factory=dict, description="That environment, and under 'rendered' what was rendered."
    )
    accepted: str = Field(description="When, ISO 8601.")
    accepted_by: str
    reason: str = Field(description="Why it was accepted.")


Place = Literal["bracketed", "outside"]
"""Where a preview lies: between two renders, or much farther from both than they are from each other."""


class NearestCheckpoints(Record):
    """A preview without its checkpoint, against renders with the saved ones around it; no verdict."""

    steps: tuple[int, ...] = Field(description="Steps of the checkpoints that were rendered, one or two.")
    scores: tuple[Scores, ...] = Field(description="Of each render against the preview, codec-matched.")
    apart: Scores | None = Field(None, description="Of two renders against each other, after the codec.")
    place: Place | None = Field(None, description="None where only one could be rendered.")


class Row(Perceptual):
    """One case under one variant: verdict, scores, and everything needed to trust them.

    ``ssim`` to ``pixels`` and what ``Perceptual`` holds are codec-matched: the re-run was encoded as the
    preview was.
    ``raw`` compares the re-run as rendered; ``codec_floor`` is what the codec alone does to the re-run.
    """

    case: CaseId
    variant: InnerPath = REFERENCE
    verdict: Verdict
    reason: str
    ssim: float | None = None
    lpips: float | None = None
    psnr: float | None = Field(
        None, description="dB; None where images are identical or there are no scores."
    )
    pixels: PixelStats | None = None
    raw: Scores | None = None
    codec_floor: Scores | None = None
    nearest: NearestCheckpoints | None = Field(
        None, description="Of a preview without its checkpoint, where its neighbours were rendered."
    )
    against_reference: Scores | None = Field(
        None, description="Of another system's image against the reference's render, encoded alike."
    )
    settings: dict[str, Any] = Field(description="The case's settings as recorded, LoRA multiplier included.")
    rendered: Rendered | None = None
    environment: dict[str, Any]
    tolerance: Tolerance
    images: Images
    image_sha256: str | None = Field(None, description="Hash of the re-run's size and pixels.")
    latents_sha256: str | None = Field(None, description="Hash of the latents before they were decoded.")
    findings: list[Finding] = Field(
        default_factory=list, description="What the case showed without a render, the most serious first."
    )
    render_key: str | None = Field(None, description="Hash of everything that decided the re-run's pixels.")
    taken_from: str | None = Field(None, description="Run that made the re-run, where it was not made again.")
    warnings: list[str] = Field(default_factory=list, description="What did not go as asked for, in words.")
    baseline: Baseline | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    description: Case = Field(description="The case as it was when it ran.")
    key: str = Field(description="Hash of everything that the render and its judgement depended on.")

    @property
    def known(self) -> bool:
        """Somebody accepted this very verdict for the case."""
        return self.baseline is not None and self.baseline.verdict is self.verdict

    @property
    def changed(self) -> bool:
        """It matches, and is not the image that was accepted on this kind of machine."""
        accepted = self.baseline
        return (
            self.verdict is Verdict.MATCH
            and accepted is not None
            and accepted.same_environment
            and not accepted.identical
        )

    @property
    def scores(self) -> Scores | None:
        """The codec-matched scores, or None for a row without any."""
        if self.ssim is None or self.lpips is None or self.pixels is None:
            return None
        more = {name: getattr(self, name) for name in METRIC_NAMES}
        return Scores(ssim=self.ssim, lpips=self.lpips, psnr=self.psnr, pixels=self.pixels, **more)

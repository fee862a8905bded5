"""Rows and accepted results made by hand."""

from __future__ import annotations

from typing import Any

from harness.judging.baseline import Entry, entry_of, environment_key
from harness.judging.verdict import DEFAULT_TOLERANCE, judge
from harness.metrics.scores import PixelStats, Scores, Tile
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.case_parts import Preview, SampleSettings
from harness.schema.result import Images, Rendered, Row

CPU: dict[str, Any] = {"platform": "Linux x86_64", "cpu": "AVX512", "packages": {"torch": "2.14.1"}}


XEON: dict[str, Any] = {**CPU, "cpu_bf16": "amx_bf16"}


H100: dict[str, Any] = {"platform": "Linux x86_64", "gpu": {"name": "NVIDIA H100 80GB HBM3"}}


RENDERED = Rendered(
    width=64, height=64, steps=2, seed=0, guidance_scale=4.0, sigmas=[1.0, 0.5, 0.0], sigmas_sha256="5" * 64,
    dtype="bf16", noise="current", attention="native", device="cpu", offload="none", pipeline="builtin",
    pipeline_sha256="6" * 64, lora_mode="none", lora_sha256=None, network_multiplier=None,
    base="embedded:tiny-flex2-emoji", revision="content:1",
)  # fmt: skip


def scores(ssim: float, lpips: float = 0.001, psnr: float | None = 45.0) -> Scores:
    tile = Tile(x=0, y=0, size=64, mean_abs=0.5)
    pixels = PixelStats(identical=psnr is None, max_abs=9, mean_abs=0.5, changed=0.5, worst_tile=tile)
    return Scores(ssim=ssim, lpips=lpips, psnr=psnr, pixels=pixels)


def row(
    found: Scores | None = None,
    *,
    image: str | None = "a",
    environment: dict[str, Any] = CPU,
    **rendered: Any,
) -> Row:
    found = found or scores(0.995)
    verdict, reason = judge(found, DEFAULT_TOLERANCE)
    settings = SampleSettings(prompt="a cat", width=64, height=64, seed=0, sample_steps=2)
    case = Case(
        id="job/0",
        base=Base(embedded="tiny-flex2-emoji"),
        preview=Preview(file="0.png", sha256="1" * 64, width=64, height=64),
        settings=settings,
    )
    return Row(
        case=case.id,
        verdict=verdict,
        reason=reason,
        **found.model_dump(),
        settings={**settings.model_dump(), "network_multiplier": None},
        rendered=RENDERED.model_copy(update=rendered),
        environment=environment,
        tolerance=DEFAULT_TOLERANCE,
        images=Images(preview="p.png", rerun="r.png"),
        image_sha256=image and image * 64,
        description=case,
        key="k",
    )


def accepted(*likes: Row) -> dict[str, list[Entry]]:
    """Results accepted in this order, by kind of machine."""
    entries: dict[str, list[Entry]] = {}
    for like in likes:
        entry = entry_of(
            like, accepted="2026-11-23T00:00:00+00:00", accepted_by="a person", reason="looked at it"
        )
        entries.setdefault(environment_key(like.environment), []).append(entry)
    return entries

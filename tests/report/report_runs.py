"""Run folders made through the public classes, from genuine previews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness._util.atomic_files import sha256_file
from harness.judging.verdict import judge
from harness.metrics.images import load_rgb, save_png
from harness.metrics.maps import SCALES, difference_map
from harness.metrics.pixels import pixel_stats
from harness.metrics.scores import Scores
from harness.runs.folder import RunFolder
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.case_parts import LoraRef, Preview, SampleSettings, Trained
from harness.schema.metric_limits import Tolerance
from harness.schema.result import Baseline, Images, Rendered, Row, Verdict

SAMPLES = Path(__file__).parents[1] / "data" / "jobs" / "tiny_flex2_simple_v1" / "samples"
LIMITS = Tolerance(ssim_min=0.985, lpips_max=0.02, psnr_min=40.0, source="harness default")
ENVIRONMENT = {"python": "3.11.7", "packages": {"torch": "2.14.1", "diffusers": "0.42.1"}, "threads": 2}


def sample(step: int, index: int) -> Path:
    """Return a genuine preview."""
    return next(SAMPLES.glob(f"*__{step:09d}_{index}.jpg"))


def case_of(preview: Path, case_id: str, /, **changes: Any) -> Case:
    height, width, _ = load_rgb(preview).shape
    fields: dict[str, Any] = {
        "id": case_id,
        "base": Base(embedded="tiny-flex2"),
        "preview": Preview(
            file=preview.name, sha256=sha256_file(preview), width=width, height=height, step=30
        ),
        "lora": LoraRef(file="job.safetensors", sha256="a" * 64),
        "settings": SampleSettings(prompt="a red flower", width=width, height=height, sample_steps=4),
        "trained": Trained(dtype="bf16", base="tiny-flex2"),
    }
    return Case(**(fields | changes))


def scores_of(preview: Path, rerun: Path, ssim: float = 0.999, lpips: float = 0.001) -> Scores:
    """Return scores whose pixel statistics are measured; SSIM and LPIPS are the test's choice."""
    stats = pixel_stats(load_rgb(preview), load_rgb(rerun))
    if stats.identical:
        return Scores(ssim=1.0, lpips=0.0, psnr=None, pixels=stats)
    return Scores(ssim=ssim, lpips=lpips, psnr=45.0, pixels=stats)


def rendered_of(case: Case, **changes: Any) -> Rendered:
    fields: dict[str, Any] = {
        "width": case.preview.width,
        "height": case.preview.height,
        "steps": case.settings.sample_steps,
        "seed": case.settings.seed,
        "guidance_scale": case.settings.guidance_scale,
        "sigmas": [1.0, 0.8, 0.6, 0.3, 0.0],
        "sigmas_sha256": "b" * 64,
        "dtype": "bf16",
        "noise": "current",
        "attention": "native",
        "device": "cpu",
        "offload": "none",
        "pipeline": "builtin",
        "pipeline_sha256": "c" * 64,
        "lora_mode": "fused" if case.lora else "none",
        "lora_sha256": case.lora.sha256 if case.lora else None,
        "network_multiplier": case.lora.network_multiplier if case.lora else None,
        "base": "embedded:tiny-flex2",
        "revision": "content:0123456789abcdef",
    }
    return Rendered(**(fields | changes))


def accept_of(scores: Scores, environment: dict[str, Any], rendered: Rendered) -> Baseline:
    """Return a baseline that somebody accepted in another environment."""
    return Baseline(
        environment="cpu-x86_64",
        same_environment=True,
        identical=False,
        verdict=Verdict.MATCH,
        scores=scores,
        changes=["packages.torch 2.13.0 → 2.14.1"],
        facts={**environment, "rendered": rendered.model_dump(exclude={"sigmas", "engine_reason"})},
        accepted="2026-11-20T09:00:00+00:00",
        accepted_by="Ada",
        reason="first night",
    )


class Run:
    """A run folder to which a test adds rows."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path, {"device": "cpu"}, {"created": "2026-11-23T10:00:00+00:00"})
        self.path = path

    def compared(self, case: Case, preview: Path, rerun: Path, **changes: Any) -> Row:
        """Add a row that compares two genuine pictures, with a measured difference map."""
        images = self.folder.image_folder(case.id, changes.get("variant", "reference"))
        save_png(images / "rerun.png", load_rgb(rerun))
        difference = difference_map(load_rgb(preview), load_rgb(rerun))
        maps = {}
        for name in SCALES:
            save_png(images / f"{name}.png", difference)
            maps[name] = (images / f"{name}.png").relative_to(self.path).as_posix()
        paths = Images(
            preview=self.folder.keep_preview(case.id, preview),
            rerun=(images / "rerun.png").relative_to(self.path).as_posix(),
            maps=maps,
        )
        scores = changes.pop("scores", None) or scores_of(preview, rerun)
        tolerance = changes.pop("tolerance", LIMITS)
        verdict, reason = judge(scores, tolerance)
        fields: dict[str, Any] = {
            "verdict": verdict,
            "reason": reason,
            "raw": scores.model_copy(update={"ssim": scores.ssim - 0.04}),
            "codec_floor": scores.model_copy(update={"ssim": 0.96}),
            "rendered": rendered_of(case),
            "images": paths,
            "seconds": {"load": 0.5, "render": 1.25},
            **scores.model_dump(),
        }
        return self._append(case, tolerance=tolerance, **(fields | changes))

    def bare(self, case: Case, preview: Path, verdict: Verdict, reason: str, **changes: Any) -> Row:
        """Add a row without a re-run."""
        images = Images(preview=self.folder.keep_preview(case.id, preview))
        fields = {"verdict": verdict, "reason": reason, "images": images, "tolerance": LIMITS}
        return self._append(case, **(fields | changes))

    def _append(self, case: Case, **fields: Any) -> Row:
        multiplier = case.lora.network_multiplier if case.lora else None
        settings = {**case.settings.model_dump(), "network_multiplier": multiplier}
        given = {"settings": settings, "environment": ENVIRONMENT} | fields
        row = Row(case=case.id, description=case, key="k", **given)
        self.folder.append(row)
        return row

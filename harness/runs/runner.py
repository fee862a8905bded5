"""From one planned case to one row."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from harness.case import Case, Tolerance
from harness.errors import HarnessError
from harness.judge import DEFAULT_TOLERANCE, judge, judge_sizes
from harness.renderer import OnStep, Render, Renderer
from harness.runs.plan import Planned, RunOptions
from harness.runs.row import Images, Row, Verdict
from harness.runs.score import Scorer
from harness.runs.store import RunFolder


@dataclass(frozen=True)
class CaseRunner:
    """Makes planned cases into rows: renders, keeps the images, scores, judges."""

    folder: RunFolder
    renderer: Renderer
    scorer: Scorer
    options: RunOptions
    environment: dict[str, Any]
    on_step: OnStep | None = None

    def run(self, item: Planned) -> Row:
        """Return the row of one planned case; a failed render is a row with the verdict ``error``.

        Raises:
            HarnessError: bad input that only the loaded weights could show.
        """
        if item.same_as is not None:
            return self._copy(item, self.folder.done[item.case.id, item.same_as])
        if item.request is None:
            return self._row(item, Verdict.INCOMPARABLE, str(item.problem))
        try:
            render = self.renderer.render(item.request, self.on_step)
        except HarnessError as error:
            if error.exit_code == HarnessError.exit_code:
                raise
            return self._row(item, Verdict.ERROR, str(error))
        return self._score(item, render)

    @staticmethod
    def _copy(item: Planned, first: Row) -> Row:
        """Return the row of an equal render under this variant's name, with the reason why it is equal."""
        reason = f"{item.same_why}; {first.reason}"
        return first.model_copy(update={"variant": item.variant, "key": item.key, "reason": reason})

    def refused(self, item: Planned, error: HarnessError) -> Row:
        """Return the row of a case that bad input kept from being rendered; its preview must exist."""
        return self._row(item, Verdict.ERROR, str(error))

    def _score(self, item: Planned, render: Render) -> Row:
        from harness.scoring.images import save_png

        case = item.case
        started = time.perf_counter()
        images = self.folder.image_folder(case.id, item.variant)
        save_png(images / "rerun.png", render.image)
        preview = self.folder.keep_preview(case.id, case.preview_path)
        paths = Images(preview=preview, rerun=(images / "rerun.png").relative_to(self.folder.path).as_posix())
        common: dict[str, Any] = {
            "rendered": render.rendered,
            "image_sha256": _pixels_sha256(render.image),
            "latents_sha256": render.latents_sha256,
            "seconds": dict(render.seconds),
        }
        if reason := judge_sizes(case, (render.rendered.width, render.rendered.height)):
            return self._row(item, Verdict.INCOMPARABLE, reason, images=paths, **common)
        scored = self.scorer.score(self.folder.path, paths)
        verdict, reason = judge(scored.matched, tolerance_of(case, self.options))
        common["seconds"]["score"] = round(time.perf_counter() - started, 4)
        return self._row(
            item,
            verdict,
            reason,
            images=scored.images,
            raw=scored.raw,
            codec_floor=scored.codec_floor,
            **scored.matched.model_dump(),
            **common,
        )

    def _row(self, item: Planned, verdict: Verdict, reason: str, **more: Any) -> Row:
        from harness.diagnosis.findings import static_findings

        case = item.case
        more.setdefault("images", Images(preview=self.folder.keep_preview(case.id, case.preview_path)))
        return Row(
            case=case.id,
            variant=item.variant,
            verdict=verdict,
            reason=reason,
            settings={
                **case.settings.model_dump(),
                "network_multiplier": case.lora.network_multiplier if case.lora else None,
            },
            environment=self.environment,
            tolerance=tolerance_of(case, self.options),
            findings=static_findings(case),
            description=case,
            key=item.key,
            **more,
        )


def _pixels_sha256(image: Any) -> str:
    """Hash size and pixels, so that the same picture has the same hash however its file was compressed."""
    height, width, _ = image.shape
    return hashlib.sha256(f"{width}x{height} ".encode() + image.tobytes()).hexdigest()


def tolerance_of(case: Case, options: RunOptions) -> Tolerance:
    """Return the tolerance that applies: command line, then case file, then the harness's default."""
    return options.tolerance or case.tolerance or DEFAULT_TOLERANCE

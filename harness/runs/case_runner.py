"""From one planned case to one row."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness._util.atomic_files import write_bytes
from harness._util.signals import deliver_interrupts
from harness.errors import HarnessError
from harness.judging.baseline_store import BaselineStore
from harness.judging.drift_origin import beside_reference
from harness.judging.tolerance import Tolerances
from harness.judging.verdict import judge_sizes, judge_variant
from harness.metrics.latents import SUFFIX, encode_latents
from harness.runs.dispatch import Outcome
from harness.runs.folder import RunFolder
from harness.runs.plan import RunOptions
from harness.runs.planned import Planned
from harness.runs.render_cache import RenderCache
from harness.runs.rescore import judge_again
from harness.runs.scorer import ScoringJob, ScoringResult
from harness.runs.t5_kernel import OTHER, PROOF, T5_FINDING, T5Kernels
from harness.schema.case import Case
from harness.schema.metric_limits import Tolerance
from harness.schema.render import OnStep, Render, Renderer
from harness.schema.result import REFERENCE, Finding, Images, Row, Verdict


@dataclass(frozen=True)
class CaseRunner:
    """Makes planned cases into rows: keeps stored ones that hold, renders, keeps images, judges scores."""

    folder: RunFolder
    cache: RenderCache
    options: RunOptions
    environment: dict[str, Any]
    kernels: T5Kernels | None = None
    on_step: OnStep | None = None
    _findings: dict[tuple[str, str | None], list[Finding]] = field(default_factory=dict)

    def valid_row(self, item: Planned) -> Row | None:
        """Return the stored row of ``item`` if it still holds, judged by the limits and baseline of now.

        It does not hold where the case, its request or its preview changed, or where it is an error.
        """
        row = self.folder.done.get((item.case.id, item.variant))
        if row is None or row.key != item.key or row.verdict is Verdict.ERROR:
            return None
        judged, tolerance = row, tolerance_of(item.case, self.options, row.environment)
        if self.options.baselines is not None and row.scores is not None:
            without = row.model_copy(update={"baseline": None})
            judged = against_accepted(judge_again(without, tolerance), self.options, self.folder.path)
        elif row.tolerance != tolerance:
            judged = judge_again(row, tolerance)
        if judged != row:
            self.folder.append(judged)
        return judged

    def render(self, item: Planned, renderer: Renderer) -> Outcome:
        """Return the render of one planned case, why it failed, or None where nothing is to be rendered.

        Raises:
            HarnessError: bad input that only the loaded weights could show.
        """
        if item.request is None or item.same_as is not None:
            return None
        if (found := self.cache.find(item)) is not None:
            return found
        make = partial(self._made, renderer)
        made = self.kernels.render(item, make, self.cache.stored_render) if self.kernels else make(item)
        if isinstance(made, Render):
            self.cache.add(item, made)
        return made

    def _made(self, renderer: Renderer, item: Planned) -> Outcome:
        assert item.request is not None
        if (found := self.cache.stored_render(item)) is not None:
            return found
        try:
            with deliver_interrupts():
                made = renderer.render(item.request, self.on_step)
        except HarnessError as error:
            if error.exit_code == HarnessError.exit_code:
                raise
            return error
        return self.cache.with_key(item, made)

    def scoring_job(self, item: Planned, outcome: Outcome) -> ScoringJob | None:
        """Return what is to be kept and scored of a render, its preview in the run folder already."""
        if not isinstance(outcome, Render):
            return None
        folder = self.folder.image_folder(item.case.id, item.variant)
        rerun, latents = folder / "rerun.png", self._keep_latents(item, outcome, folder)
        return ScoringJob(
            run=self.folder.path,
            images=Images(
                preview=self.folder.keep_preview(item.case.id, item.case.preview_path),
                rerun=rerun.relative_to(self.folder.path).as_posix(),
                latents=latents.relative_to(self.folder.path).as_posix() if latents else None,
            ),
            image=outcome.image,
            comparable=judge_sizes(item.case, (outcome.rendered.width, outcome.rendered.height)) is None,
        )

    def _keep_latents(self, item: Planned, render: Render, folder: Path) -> Path | None:
        """Write the latents of a re-run beside its image; variants have no baseline to compare them with."""
        path = folder / f"rerun{SUFFIX}"
        if render.latents is None or not self.options.keep_latents or item.variant != REFERENCE:
            path.unlink(missing_ok=True)
            return None
        write_bytes(path, encode_latents(render.latents), lasting=False)
        return path

    def row(self, item: Planned, outcome: Outcome, result: ScoringResult | None) -> Row:
        """Return the row of what ``render`` gave and ``Scorer.run`` made of it."""
        return against_accepted(self._against_preview(item, outcome, result), self.options, self.folder.path)

    def _against_preview(self, item: Planned, outcome: Outcome, result: ScoringResult | None) -> Row:
        if isinstance(outcome, Render):
            assert result is not None
            return self._judged(item, outcome, result)
        if isinstance(outcome, HarnessError):
            return self._row(item, Verdict.ERROR, str(outcome))
        if item.same_as is not None:
            return self._copy(item, self.folder.done[item.case.id, item.same_as])
        return self._row(item, Verdict.INCOMPARABLE, str(item.problem))

    @staticmethod
    def _copy(item: Planned, first: Row) -> Row:
        """Return the row of an equal render under this variant's name, with the reason why it is equal."""
        reason = f"{item.same_why}; {first.reason}"
        return first.model_copy(update={"variant": item.variant, "key": item.key, "reason": reason})

    def refused(self, item: Planned, error: HarnessError) -> Row:
        """Return the row of a case that bad input kept from being rendered; its preview must exist."""
        return self._row(item, Verdict.ERROR, str(error))

    def _judged(self, item: Planned, render: Render, result: ScoringResult) -> Row:
        common: dict[str, Any] = {
            "rendered": render.rendered,
            "image_sha256": result.image_sha256,
            "latents_sha256": render.latents_sha256,
            "render_key": render.key,
            "taken_from": render.taken_from,
            "warnings": [*render.warnings, *result.warnings],
            "images": result.images,
            "seconds": {**render.seconds, "score": result.seconds},
            "against_reference": render.against_reference,
        }
        if reason := judge_sizes(item.case, (render.rendered.width, render.rendered.height)):
            return self._row(item, Verdict.INCOMPARABLE, reason, **common)
        scored = result.scored
        assert scored is not None
        tolerance = tolerance_of(item.case, self.options, self.environment)
        verdict, reason = judge_variant(item.case, item.variant, scored.matched, tolerance)
        if item.free_t5 and render.rendered.t5_attention == OTHER:
            reason = f"{reason}; {PROOF}"
            common["findings"] = [found for found in self._findings_of(item.case) if found.id != T5_FINDING]
        if render.against_reference is not None:
            reason = f"{reason}; {beside_reference(verdict, render.against_reference, tolerance)}"
        return self._row(
            item,
            verdict,
            reason,
            raw=scored.raw,
            codec_floor=scored.codec_floor,
            **scored.matched.model_dump(),
            **common,
        )

    def _row(self, item: Planned, verdict: Verdict, reason: str, **more: Any) -> Row:
        case = item.case
        more.setdefault("findings", self._findings_of(case))
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
            tolerance=tolerance_of(case, self.options, self.environment),
            description=case,
            key=item.key,
            **more,
        )

    def _findings_of(self, case: Case) -> list[Finding]:
        """Return what the case shows by itself; looked for once for all variants that are as comparable."""
        from harness.judging.findings import static_findings

        key = case.id, case.incomparable
        if key not in self._findings:
            self._findings[key] = static_findings(case)
        return self._findings[key]


def tolerance_of(case: Case, options: RunOptions, environment: dict[str, Any]) -> Tolerance:
    """Return the limits that apply to a case in an environment."""
    return Tolerances(options.tolerance, options.project_tolerance).of(case, environment)


def against_accepted(row: Row, options: RunOptions, run: Path) -> Row:
    """Return a row judged against its baseline too, where the run asks for that; variants have none."""
    if options.baselines is None or row.variant != REFERENCE:
        return row
    return BaselineStore(options.baselines).judge(row, run)

"""From one planned case to one row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness._util.signals import deliver_interrupts
from harness.errors import HarnessError
from harness.judging.baseline import environment_key
from harness.judging.baseline_judging import against_baseline
from harness.judging.baseline_store import BaselineStore
from harness.judging.tolerance import Tolerances
from harness.judging.verdict import judge, judge_sizes
from harness.runs.folder import RunFolder
from harness.runs.pending_renders import Waiting
from harness.runs.plan import REFERENCE, Planned, RunOptions
from harness.runs.scorer import Evidence, Finished, Scorer
from harness.schema.case import Case, Tolerance
from harness.schema.render import OnStep, Render, Renderer
from harness.schema.result import Finding, Images, Row, Verdict

Outcome = Render | HarnessError | None
"""A render, why it failed, or nothing where nothing is rendered."""


@dataclass(frozen=True)
class CaseRunner:
    """Makes planned cases into rows: renders, keeps the images, scores, judges.

    Attributes:
        waiting: where renders wait for their scores; None where they do not.
    """

    folder: RunFolder
    renderer: Renderer
    scorer: Scorer
    options: RunOptions
    environment: dict[str, Any]
    on_step: OnStep | None = None
    waiting: Waiting | None = None
    _found: list[tuple[Case, list[Finding]]] = field(default_factory=list)

    def run(self, item: Planned) -> Row:
        """Return the row of one planned case; a failed render is a row with the verdict ``error``.

        Raises:
            HarnessError: bad input that only the loaded weights could show.
        """
        outcome = self.render(item)
        finished = self.finished(item, outcome)
        return self.row(item, outcome, self.scorer.gather(finished) if finished else None)

    def render(self, item: Planned) -> Outcome:
        """Return the render of one planned case, why it failed, or None where nothing is to be rendered.

        Raises:
            HarnessError: bad input that only the loaded weights could show.
        """
        if item.request is None or item.same_as is not None:
            return None
        if self.waiting is not None and (found := self.waiting.find(item)) is not None:
            return found
        try:
            with deliver_interrupts():
                made = self.renderer.render(item.request, self.on_step)
        except HarnessError as error:
            if error.exit_code == HarnessError.exit_code:
                raise
            return error
        if self.waiting is not None:
            self.waiting.keep(item, made)
        return made

    def finished(self, item: Planned, outcome: Outcome) -> Finished | None:
        """Return what is to be kept and scored of a render, its preview in the run folder already."""
        if not isinstance(outcome, Render):
            return None
        rerun = self.folder.image_folder(item.case.id, item.variant) / "rerun.png"
        return Finished(
            run=self.folder.path,
            images=Images(
                preview=self.folder.keep_preview(item.case.id, item.case.preview_path),
                rerun=rerun.relative_to(self.folder.path).as_posix(),
            ),
            image=outcome.image,
            comparable=judge_sizes(item.case, (outcome.rendered.width, outcome.rendered.height)) is None,
        )

    def row(self, item: Planned, outcome: Outcome, evidence: Evidence | None) -> Row:
        """Return the row of what ``render`` gave and ``Scorer.gather`` made of it."""
        return against_accepted(self._against_preview(item, outcome, evidence), self.options)

    def _against_preview(self, item: Planned, outcome: Outcome, evidence: Evidence | None) -> Row:
        if isinstance(outcome, Render):
            assert evidence is not None
            return self._judged(item, outcome, evidence)
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

    def _judged(self, item: Planned, render: Render, evidence: Evidence) -> Row:
        common: dict[str, Any] = {
            "rendered": render.rendered,
            "image_sha256": evidence.image_sha256,
            "latents_sha256": render.latents_sha256,
            "render_key": render.key,
            "taken_from": render.taken_from,
            "warnings": list(render.warnings),
            "images": evidence.images,
            "seconds": {**render.seconds, "score": evidence.seconds},
        }
        if reason := judge_sizes(item.case, (render.rendered.width, render.rendered.height)):
            return self._row(item, Verdict.INCOMPARABLE, reason, **common)
        scored = evidence.scored
        assert scored is not None
        verdict, reason = judge(scored.matched, tolerance_of(item.case, self.options, self.environment))
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
            findings=self._findings(case),
            description=case,
            key=item.key,
            **more,
        )

    def _findings(self, case: Case) -> list[Finding]:
        """Return what the case shows by itself; looked for once for all variants that follow each other."""
        from harness.judging.findings import static_findings

        if not self._found or self._found[0][0] is not case:
            self._found[:] = [(case, static_findings(case))]
        return self._found[0][1]


def tolerance_of(case: Case, options: RunOptions, environment: dict[str, Any]) -> Tolerance:
    """Return the tolerance that applies: command line, then case file, then the harness's default."""
    return Tolerances(options.tolerance).of(case, environment_key(environment))


def against_accepted(row: Row, options: RunOptions) -> Row:
    """Return a row judged against its baseline too, where the run asks for that; variants have none."""
    if options.baselines is None or row.variant != REFERENCE:
        return row
    return against_baseline(row, BaselineStore(options.baselines).entries(row.case))

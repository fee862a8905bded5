"""What a run is: what names it, what it measures, and what names its renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.metrics.scores import MetricName
from harness.pipeline.checkpoint import Checkpoint
from harness.runs.case_runner import tolerance_of
from harness.runs.machine import Machine
from harness.runs.plan import RunOptions
from harness.runs.planned import Planned
from harness.runs.render_cache import RenderKeys
from harness.runs.run_identity import CASES
from harness.schema.metric_limits import needed_metrics


@dataclass(frozen=True)
class Setup:
    """What a run is: its cases on one machine, with one set of bases and options.

    Attributes:
        subject: what the identity calls the cases; runs of another kind are other runs.
        bases: checkpoint of every base, by the base's name.
        grows: the cases may come to others that the folder's run has already.
    """

    planned: Sequence[Planned]
    machine: Machine
    bases: Mapping[str, Checkpoint]
    options: RunOptions
    subject: str = CASES
    grows: bool = False

    def identity(self) -> dict[str, Any]:
        """Return what makes this run this run; a resumed run must have the same."""
        return {
            **self.options.identity(),
            self.subject: sorted({item.case.id for item in self.planned}),
            "bases": {name: base.revision for name, base in self.bases.items()},
            "environment": self.machine.environment,
        }

    def metrics(self) -> set[MetricName]:
        """Return what is measured beside SSIM, LPIPS and PSNR: what was asked for or has a limit."""
        facts = self.machine.environment
        limited = (needed_metrics(tolerance_of(item.case, self.options, facts)) for item in self.planned)
        return set(self.options.metrics).union(*limited)

    def keys(self) -> RenderKeys:
        """Return what names renders by all that decides their pixels."""
        revisions = {name: base.revision for name, base in self.bases.items()}
        return RenderKeys(revisions, {**self.machine.environment, **self.options.reaching()})

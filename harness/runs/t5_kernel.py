"""Which kernel T5's attention had where a case does not say, proved by a preview of its job.

Nothing in a job folder names the kernel. A preview that the other kernel renders bit for bit proves it for
the whole job: no other setting has that effect by chance. So each job costs at most one more render in each
process, and none where the default is identical already or too far away for a kernel to be the reason. A
calibration asks before anything else is rendered, since all its controls must have one kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.errors import HarnessError
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.metrics.pixels import psnr
from harness.runs.dispatch import Outcome
from harness.runs.planned import Planned
from harness.schema.render import Render
from harness.schema.versions import T5Attention

REPEAT = "repeat"
"""The variant of a calibration that is the case's own settings."""

OTHER: T5Attention = "sdpa"
"""The kernel that a case's default is not."""

MIN_PSNR = 30.0
"""dB between preview and re-run below which the kernel is not the reason: it makes 33 to 46."""

PROOF = f"T5's attention is {OTHER}: proved, a preview of this job is bit-identical with it"

T5_FINDING = "t5-attention"
"""The static finding that a proof settles."""

RenderItem = Callable[[Planned], Outcome]


class T5Kernels:
    """Renders each job's cases with the kernel that a preview of it proves.

    Which preview is asked depends on the planned cases alone, so that the number of renderers does not show:
    the first one by name, which is of the lowest step, where no LoRA's arithmetic stands in the way.

    Args:
        planned: the cases of the run.
        tell: is told of a proof, in one line.
    """

    def __init__(self, planned: Sequence[Planned], tell: Callable[[str], None]) -> None:
        self._controls: dict[str, Planned] = {}
        for item in sorted(planned, key=lambda item: (item.case.id, item.variant != REPEAT)):
            if item.free_t5 and item.case.preview.older_config is None:
                self._controls.setdefault(item.case.job, item)
        self._proved: dict[str, bool] = {}
        self._asked: dict[str, Render] = {}
        self._tell, self._lock = tell, threading.Lock()

    def render(
        self, item: Planned, render: RenderItem, stored: Callable[[Planned], Render | None]
    ) -> Outcome:
        """Return the render of ``item``, with the other kernel where that is proved for its job.

        Args:
            render: renders an item as it is.
            stored: returns a render that another run holds, or None.
        """
        job = item.case.job
        if not item.free_t5 or (control := self._controls.get(job)) is None:
            return render(item)
        if job not in self._proved and (held := stored(with_other(control))) is not None:
            self._decide(job, held, control)
        if control.variant == REPEAT:
            self._ask_first(job, control, render)
            if item is control and (kept := self._asked.pop(job, None)) is not None:
                return kept
        if self._proved.get(job):
            return render(with_other(item))
        made = render(item)
        if job not in self._proved and isinstance(made, Render) and made.taken_from is None:
            found = _psnr(item, made)
            if found is None:
                self._proved[job] = False
            elif _near(found):
                trial = self._try(job, control, render)
                if control is item and self._proved[job] and trial is not None:
                    return trial
        return render(with_other(item)) if self._proved.get(job) else made

    def _ask_first(self, job: str, control: Planned, render: RenderItem) -> None:
        """Decide before anything of the job is rendered, unless that was done; keep the control's render."""
        with self._lock:
            if job in self._proved:
                return
            self._proved[job] = False
            try:
                made = render(control)
                if isinstance(made, Render) and _near(_psnr(control, made)):
                    trial = render(with_other(control))
                    self._decide(job, trial, control)
                    made = trial if self._proved[job] else made
            except HarnessError:  # the control's own turn tells the user
                return
            if isinstance(made, Render):
                self._asked[job] = made

    def _try(self, job: str, control: Planned, render: RenderItem) -> Outcome:
        """Render the control with the other kernel, unless that was done meanwhile, and decide."""
        with self._lock:
            if job in self._proved:
                return None
            try:
                trial = render(with_other(control))
                self._decide(job, trial, control)
            except HarnessError as error:  # the control's own turn tells the user
                self._proved[job], trial = False, error
            return trial

    def _decide(self, job: str, trial: Outcome, control: Planned) -> None:
        self._proved[job] = isinstance(trial, Render) and _psnr(control, trial) is None
        if self._proved[job]:
            self._tell(
                f"{control.case.id} is bit-identical with T5's {OTHER} attention: so is {job} rendered"
            )


def with_other(item: Planned) -> Planned:
    """Return ``item`` with the other kernel, where its kernel is free."""
    if item.request is None or not item.free_t5:
        return item
    return replace(item, request=replace(item.request, t5_attention=OTHER))


def _near(found: float | None) -> bool:
    """Whether a re-run of this PSNR, dB, is near its preview and not identical."""
    return found is not None and found >= MIN_PSNR


def _psnr(item: Planned, made: Render) -> float | None:
    """Return how near a render is to its preview after the preview's codec, dB; None where identical."""
    preview = item.case.preview_path
    shown, image = load_rgb(preview), made.image
    return psnr(shown, Codec.of(preview).apply(image)) if shown.shape == image.shape else 0.0

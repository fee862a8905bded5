"""Run cases: check everything, render, score, judge, store."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.case import Case
from harness.errors import HarnessError
from harness.judge import DEFAULT_TOLERANCE, judge, judge_sizes
from harness.renderer import OnStep, Render, Renderer
from harness.runs.plan import Planned, RunOptions, plan
from harness.runs.row import Images, Row, Verdict
from harness.runs.score import Scorer
from harness.runs.store import RunFolder, read_rows

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "reference"


class Progress(Protocol):
    """What a run tells about its progress."""

    def started(self, folder: Path, planned: list[Planned], done: int) -> None:
        """The run begins; ``done`` of the planned cases already have rows."""

    def case_started(self, planned: Planned) -> None:
        """A case begins."""

    def step_done(self, done: int, total: int) -> None:
        """``done`` of ``total`` denoising steps of the current case are made."""

    def case_done(self, row: Row) -> None:
        """A row was stored."""


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and its rows, in the order of their cases."""

    folder: Path
    rows: list[Row]

    @property
    def counts(self) -> Counter[Verdict]:
        """How many rows have each verdict."""
        return Counter(row.verdict for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0: all match; 1: some drift or cannot be compared; 3: a render failed."""
        verdicts = set(self.counts)
        if Verdict.ERROR in verdicts:
            return 3
        return 0 if verdicts <= {Verdict.MATCH} else 1

    def frame(self) -> pd.DataFrame:
        """Return one line per row; ``psnr`` is in dB and infinite where the images are identical."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])


def load_run(folder: Path) -> RunResult:
    """Return a saved run, without loading a model."""
    return RunResult(folder, sorted(read_rows(folder), key=lambda row: (row.case, row.variant)))


def run_cases(
    cases: list[Case],
    *,
    out: Path,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    renderer: Renderer | None = None,
) -> RunResult:
    """Re-render every case, score it against its preview and judge it; rows are stored as they finish.

    A folder that holds an unfinished run of the same cases and options is resumed.

    Args:
        out: the run folder.
        renderer: the system under test; the reference pipeline unless given.

    Raises:
        HarnessError: bad input; found before anything is rendered.
    """
    options = options or RunOptions()
    from harness.reference.load import choose_device

    device = choose_device(options.device)
    planned = plan(cases, options, device)
    preflight(planned, options)
    scorer = Scorer(options.lpips_weights)
    identity = {**options.identity(), "cases": sorted(case.id for case in cases)}
    from harness.environment import environment

    facts = environment(device)
    about = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": facts,
    }
    with RunFolder(out, identity, about) as folder:
        todo = [item for item in planned if not _already(folder, item)]
        if progress is not None:
            progress.started(out, planned, len(planned) - len(todo))
        renderer = renderer or _reference(options, device)
        try:
            for item in todo:
                if progress is not None:
                    progress.case_started(item)
                row = _Runner(folder, renderer, scorer, options, facts, progress).run(item)
                folder.append(row)
                if progress is not None:
                    progress.case_done(row)
        finally:
            renderer.close()
    return load_run(out)


def preflight(planned: list[Planned], options: RunOptions) -> None:
    """Check every file the run will need, before a model is loaded.

    Raises:
        HarnessError: the first file that is missing, changed, unsafe or unusable.
    """
    from harness.aitoolkit.lora import inspect_lora
    from harness.reference.checkpoint import find_checkpoint
    from harness.reference.load import check_trust
    from harness.reference.spec import FLEX2
    from harness.scoring.images import load_rgb

    for item in planned:
        item.case.verify()
        load_rgb(item.case.preview_path)
    requests = [item.request for item in planned if item.request is not None]
    for lora in {request.lora.file for request in requests if request.lora is not None}:
        inspect_lora(lora)
    for base, code in {
        (str(request.base), request.pipeline): (request.base, request.pipeline) for request in requests
    }.values():
        check_trust(find_checkpoint(base, FLEX2), code, options.trust_remote_code)


def _reference(options: RunOptions, device: str) -> Renderer:
    from harness.reference.render import ReferenceRenderer

    return ReferenceRenderer(
        device=device, offload=options.offload, trust_remote_code=options.trust_remote_code
    )


def _already(folder: RunFolder, item: Planned) -> bool:
    row = folder.done.get((item.case.id, REFERENCE))
    return row is not None and row.key == item.key and row.verdict is not Verdict.ERROR


@dataclass(frozen=True)
class _Runner:
    """Everything one case needs to become a row."""

    folder: RunFolder
    renderer: Renderer
    scorer: Scorer
    options: RunOptions
    environment: dict[str, Any]
    progress: Progress | None

    def run(self, item: Planned) -> Row:
        case = item.case
        if item.request is None:
            return self._row(item, Verdict.INCOMPARABLE, str(case.incomparable))
        on_step: OnStep | None = self.progress.step_done if self.progress is not None else None
        try:
            render = self.renderer.render(item.request, on_step)
        except HarnessError as error:
            if error.exit_code == HarnessError.exit_code:
                raise
            return self._row(item, Verdict.ERROR, str(error))
        return self._score(item, render)

    def _score(self, item: Planned, render: Render) -> Row:
        from harness.scoring.images import save_png

        case = item.case
        started = time.perf_counter()
        images = self.folder.image_folder(case.id, REFERENCE)
        save_png(images / "rerun.png", render.image)
        preview = self.folder.keep_preview(case.id, case.preview_path)
        paths = Images(preview=preview, rerun=(images / "rerun.png").relative_to(self.folder.path).as_posix())
        common: dict[str, Any] = {"rendered": render.rendered, "seconds": dict(render.seconds)}
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
        case = item.case
        more.setdefault("images", Images(preview=self.folder.keep_preview(case.id, case.preview_path)))
        return Row(
            case=case.id,
            variant=REFERENCE,
            verdict=verdict,
            reason=reason,
            settings={
                **case.settings.model_dump(),
                "network_multiplier": case.lora.network_multiplier if case.lora else None,
            },
            environment=self.environment,
            tolerance=tolerance_of(case, self.options),
            description=case,
            key=item.key,
            **more,
        )


def tolerance_of(case: Case, options: RunOptions) -> Any:
    """Return the tolerance that applies: command line, then case file, then the harness's default."""
    return options.tolerance or case.tolerance or DEFAULT_TOLERANCE


def _flat(row: Row) -> dict[str, Any]:
    identical = row.pixels is not None and row.pixels.identical
    return {
        "case": row.case,
        "variant": row.variant,
        "verdict": row.verdict.value,
        "ssim": row.ssim,
        "lpips": row.lpips,
        "psnr": float("inf") if identical else row.psnr,
        "identical": identical,
        "raw_ssim": row.raw.ssim if row.raw else None,
        "floor_ssim": row.codec_floor.ssim if row.codec_floor else None,
        "reason": row.reason,
        "seconds": row.seconds.get("render"),
    }

"""Equally valid re-runs and mildly wrong ones of a job: what do single verdicts and the set verdict say?

    python benchmarks/set_verdict.py FOLDER [--jobs 2] [--processor native avx2]

Renders the shipped job's 16 previews under controls and keeps the renders in FOLDER; repeated, it goes on
there. ``avx2`` stands for another processor: torch and oneDNN without AVX-512. A run is all 16 previews under
one control; where a control needs a LoRA, the step-0 previews are rendered plainly. The bounds are what
``harness calibrate`` measures here, without the control that is judged. Shares of smaller sets: 500 draws of
10 previews each, seed 1.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.calibration.controls import OTHER_ATTENTION  # noqa: E402
from harness.importers.aitoolkit import import_job  # noqa: E402
from harness.judging.set_verdict import judge_sets  # noqa: E402
from harness.judging.tolerance_file import Measured, worst_noise  # noqa: E402
from harness.judging.verdict import DEFAULT_TOLERANCE, judge  # noqa: E402
from harness.metrics.codec import Codec  # noqa: E402
from harness.metrics.images import load_rgb, save_png  # noqa: E402
from harness.metrics.lpips import Lpips  # noqa: E402
from harness.metrics.score_pair import score_images  # noqa: E402
from harness.metrics.scores import Scores  # noqa: E402
from harness.runs.plan import RunOptions, plan  # noqa: E402
from harness.schema.case import Case, Tolerance, load_cases  # noqa: E402
from harness.schema.render import LoraMode, RenderRequest, Shift  # noqa: E402
from harness.schema.result import Images, Row, Verdict  # noqa: E402
from harness.schema.spec import FLEX2  # noqa: E402

PROCESSORS = {"native": {}, "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
Change = Callable[[RenderRequest], RenderRequest | None]


def _with_lora(*, lora_mode: LoraMode, **changes: Any) -> Change:
    return lambda request: replace(request, **changes, lora_mode=lora_mode if request.lora else None)


def _shift_times(factor: float) -> Shift:
    ends = FLEX2.scheduler["base_shift"], FLEX2.scheduler["max_shift"]
    base_shift, max_shift = (mu + math.log(factor) for mu in ends)
    return Shift(base_shift=base_shift, max_shift=max_shift)


def _weaker(request: RenderRequest) -> RenderRequest:
    lora = request.lora
    if lora is None:
        return request
    return replace(request, lora=replace(lora, network_multiplier=lora.network_multiplier * 0.95))


NOISE: dict[str, Change] = {
    "repeat": lambda request: request,
    "other attention": lambda request: replace(request, attention=OTHER_ATTENTION),
    "batch of two": lambda request: replace(request, batch=2),
    "live adapter": _with_lora(lora_mode="adapter"),
    "merged in fp32": _with_lora(lora_mode="fp32"),
    "adapter, other attention": _with_lora(attention=OTHER_ATTENTION, lora_mode="adapter"),
    "fp32, other attention": _with_lora(attention=OTHER_ATTENTION, lora_mode="fp32"),
    "adapter, batch of two": _with_lora(batch=2, lora_mode="adapter"),
    "fp32, batch of two": _with_lora(batch=2, lora_mode="fp32"),
}
CALIBRATED = ("repeat", "other attention", "batch of two", "live adapter", "merged in fp32")
MILD: dict[str, Change] = {
    "half the shift": lambda request: replace(request, shift=_shift_times(0.5)),
    "15 steps": lambda request: replace(request, sample_steps=15),
    "fp32 for bf16": lambda request: replace(request, dtype="fp32"),
    "guidance 3 for 4": lambda request: replace(request, guidance_scale=request.guidance_scale - 1),
    "guidance 4.5 for 4": lambda request: replace(request, guidance_scale=request.guidance_scale + 0.5),
    "guidance 3.5 for 4": lambda request: replace(request, guidance_scale=request.guidance_scale - 0.5),
    "LoRA at 0.95": _weaker,
    "30 steps": lambda request: replace(request, sample_steps=30),
    "three quarters of the shift": lambda request: replace(request, shift=_shift_times(0.75)),
    "four of five steps": lambda request: replace(request, sample_steps=request.sample_steps * 4 // 5),
}


def render(folder: Path, processor: str, names: list[str], part: int, parts: int) -> None:
    """Render a part of the controls on this processor; what is there stays."""
    from harness.pipeline.renderer import ReferenceRenderer

    renderer = ReferenceRenderer(device="cpu")
    controls = {**NOISE, **MILD}
    wanted = []
    for item in plan(load_cases([folder / "cases"]), RunOptions(device="cpu"), "cpu"):
        if item.request is not None:
            request = replace(item.request, t5_attention="sdpa")  # as the job was sampled: a run proves it
            wanted += [(name, item.case, controls[name](request)) for name in names]
    wanted.sort(key=lambda each: each[2].weights_key if each[2] else ())
    for name, case, request in wanted[part::parts]:
        file = image_of(folder, processor, name, case)
        if request is not None and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_png(file, renderer.render(request).image)


def image_of(folder: Path, processor: str, control: str, case: Case) -> Path:
    """Return where a render lies."""
    return folder / "renders" / processor / control / f"{case.id.rpartition('/')[2]}.png"


def render_all(folder: Path, processors: list[str], jobs: int) -> None:
    """Render everything that is not there, in ``jobs`` processes."""

    def start(processor: str, part: int) -> int:
        command = [sys.executable, __file__, str(folder), "--render", processor, str(part), str(jobs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **PROCESSORS[processor]}
        return subprocess.run(command, env=environment, check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        tasks = [(processor, part) for processor in processors for part in range(jobs)]
        if any(pool.map(lambda task: start(*task), tasks)):
            sys.exit("rendering failed")


Scored = dict[tuple[str, str, str], Scores]
"""Codec-matched scores by processor, control and case."""


def score_all(folder: Path, cases: list[Case], processors: list[str]) -> Scored:
    """Score every render against its preview."""
    lpips = Lpips()
    scored = {}
    for case in cases:
        codec, preview = Codec.of(case.preview_path), load_rgb(case.preview_path)
        for processor in processors:
            for control in (*NOISE, *MILD):
                image = codec.apply(load_rgb(image_of(folder, processor, control, case)))
                scored[processor, control, case.id] = score_images(preview, image, lpips)
    return scored


@dataclass(frozen=True)
class Judge:
    """Judges runs by what the calibrated controls of the first processor say.

    Attributes:
        excluded: the control that is judged, which must not set its own bound.
    """

    cases: list[Case]
    scored: Scored
    processor: str
    excluded: str

    def tolerance(self, case: Case) -> Tolerance:
        """Return the case's limits and noise bound."""
        noise = [self._measured("noise", name, case) for name in CALIBRATED if name != self.excluded]
        return Tolerance(**DEFAULT_TOLERANCE.model_dump() | {"noise_ssim": worst_noise(noise)})

    def _measured(self, kind: str, name: str, case: Case) -> Measured:
        scores = self.scored[self.processor, name, case.id]
        return Measured(control=name, kind=kind, ssim=scores.ssim, lpips=scores.lpips, psnr=scores.psnr)

    def rows(self, processor: str, control: str) -> list[Row]:
        """Return one run: every case under one control."""
        return [self._row(case, self.scored[processor, control, case.id]) for case in self.cases]

    def _row(self, case: Case, scores: Scores) -> Row:
        tolerance = self.tolerance(case)
        verdict, reason = judge(scores, tolerance)
        return Row(
            case=case.id, verdict=verdict, reason=reason, settings={}, environment={}, tolerance=tolerance,
            images=Images(preview="preview.png"), description=case, key="", **scores.model_dump(),
        )  # fmt: skip


def share_of_sets(rows: list[Row], size: int = 10, draws: int = 500) -> float:
    """Return the share of random sets of ``size`` rows that drift."""
    draw = random.Random(1)
    drifting = 0
    for _ in range(draws):
        found = judge_sets(draw.sample(rows, size))
        drifting += any(verdict.drifts for verdict in found)
    return drifting / draws


def report(cases: list[Case], scored: Scored, processors: list[str]) -> None:
    """Print one line per control and processor, then the totals."""
    print(f"{'control':<28}{'processor':<10}{'single drifts':>14}{'worse':>8}{'p':>9}  set      sets of 10")
    totals: dict[str, list[float]] = {"valid": [], "wrong": []}
    singles: dict[str, list[int]] = {"valid": [0, 0], "wrong": [0, 0]}
    for control in (*NOISE, *MILD):
        kind = "valid" if control in NOISE else "wrong"
        for processor in processors:
            excluded = control if processor == processors[0] else ""
            rows = Judge(cases, scored, processors[0], excluded).rows(processor, control)
            (found,) = judge_sets(rows)
            alone = sum(row.verdict is Verdict.DRIFT for row in rows)
            share = share_of_sets(rows)
            totals[kind] += [float(found.drifts)]
            singles[kind] = [singles[kind][0] + alone, singles[kind][1] + len(rows)]
            verdict = "drift" if found.drifts else "match"
            print(
                f"{control:<28}{processor:<10}{f'{alone} of {len(rows)}':>14}"
                f"{found.worse:>5}/{found.cases}{found.p_value:>9.4f}  {verdict:<7}{share:>9.1%}"
            )
    for kind, (alone, pairs) in singles.items():
        drifting = int(sum(totals[kind]))
        print(f"{kind}: {alone} of {pairs} pairs drift alone; {drifting} of {len(totals[kind])} sets drift")


def main() -> None:
    """Render, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="processes that render")
    parser.add_argument("--processor", nargs="+", choices=list(PROCESSORS), default=["native"])
    parser.add_argument("--render", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.render:
        processor, part, parts = options.render
        render(options.folder, processor, [*NOISE, *MILD], int(part), int(parts))
        return
    if not (options.folder / "cases").is_dir():
        import_job(ROOT / "harness/data/jobs/emoji_inkprint", out=options.folder / "cases")
    render_all(options.folder, options.processor, options.jobs)
    cases = load_cases([options.folder / "cases"])
    report(cases, score_all(options.folder, cases, options.processor), options.processor)


if __name__ == "__main__":
    main()

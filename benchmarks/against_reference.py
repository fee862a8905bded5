"""LoRA scales × schedules of one case, three ways on one machine: identical images, and how fast?

    python benchmarks/against_reference.py JOB_DIR --base FOLDER [--scales 4] [--schedules 12] [--plain 2]

(a) the plain script once per setting, for ``--plain`` settings spread over all of them; (b) one process
that keeps the pipeline, reloaded per LoRA scale; (c) ``harness sweep``, which scores codec-matched, keeps
maps and rows. (a) and (b) are plain.py. One setting is the recorded one, as in any sweep around a case.
Ratios are of seconds per setting, loading and compiling included. Exit code 1 where an image differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from clock import Clock

from harness.importers.aitoolkit import import_job
from harness.metrics.images import load_rgb
from harness.runs.plan import RunOptions
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.spec import FLEX2
from harness.sweeps.grid import Variant, parse_axis, product
from harness.sweeps.sweep import sweep_cases

SCALES = (0.5, 0.75, 1.0, 1.25)
SCHEDULES: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    *(
        (("dynamic_shifting=off", f"shift={shift}"), {"use_dynamic_shifting": False, "shift": float(shift)})
        for shift in (1, 2, 3, 4, 5, 6)
    ),
    *((("max_shift=" + each,), {"max_shift": float(each)}) for each in ("0.9", "1.15", "1.3")),
    (("scheduler=FlowMatchEuler-karras",), {"use_karras_sigmas": True}),
    (("scheduler=FlowMatchEuler-exponential",), {"use_exponential_sigmas": True}),
    (("scheduler=FlowMatchEuler-beta",), {"use_beta_sigmas": True}),
)


def settings(scales: int, schedules: int) -> list[tuple[Variant, float, dict[str, Any]]]:
    """Return every setting as the harness's variant, and as a LoRA scale with scheduler options."""
    found = []
    for scale in SCALES[:scales]:
        for axes, options in SCHEDULES[:schedules]:
            (variant,) = product([parse_axis(text) for text in (f"network_multiplier={scale}", *axes)])
            found.append((variant, scale, {**FLEX2.scheduler, **options}))
    return found


def plain(case: Case, base: str, jobs: list[dict[str, Any]], work: Path) -> float:
    """Run plain.py on ``jobs`` and return the seconds of the whole process."""
    sample = case.settings
    width, height = FLEX2.snap(sample.width, sample.height)
    plan = {
        "base": base,
        "lora": str(case.lora_path),
        "preview": str(case.preview_path),
        "jobs": jobs,
        "call": {
            "prompt": sample.prompt,
            "width": width,
            "height": height,
            "seed": sample.seed,
            "num_inference_steps": sample.sample_steps,
            "guidance_scale": sample.guidance_scale,
        },
    }
    file = work / "jobs.json"
    file.write_text(json.dumps(plan))
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("plain.py"), file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - started


def overhead(clock: Clock, wall: float) -> list[str]:
    """Say where the time of a run went beside denoising and decoding, as a whole and between renders."""
    made = [
        (start, row)
        for start, planned, row in zip(clock.starts, clock.planned, clock.stored, strict=True)
        if planned.same_as is None
    ]
    starts, rows = zip(*made, strict=True)
    loads = [row.seconds["load"] for row in rows]
    proving = sum(row.seconds["prove"] for row in rows)
    rendering = sum(row.seconds["render"] for row in rows) - proving
    start = starts[0]
    last = starts[-1] + loads[-1] + rows[-1].seconds["render"]
    between = last - start - loads[0] - proving - rendering
    return [
        f"wall {wall:.1f} s = start {start:.1f} + first load {loads[0]:.1f} + compile and proofs "
        f"{proving:.1f} + {len(rows)} renders {rendering:.1f} + between renders {between:.1f} (LoRA changes "
        f"{sum(loads[1:]):.1f}) + after the last render {wall - last:.1f}",
        f"overhead over denoising and decoding: {between / rendering:.2%} from first to last render, "
        f"{(start + between + wall - last) / rendering:.2%} with start and end",
    ]


def main() -> int:
    """Print what each way took as it ends, then the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path, help="a job folder, such as benchmarks/make_job.py writes")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base")
    parser.add_argument("--scales", type=int, default=len(SCALES))
    parser.add_argument("--schedules", type=int, default=len(SCHEDULES))
    parser.add_argument("--plain", type=int, default=2, help="settings that (a) runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        cases = import_job(options.job, out=work / "cases").cases
        case = next(case for case in cases if case.lora is not None and case.incomparable is None)
        return compare(
            case, options.base.resolve(), settings(options.scales, options.schedules), options.plain, work
        )


def compare(
    case: Case, base: Path, todo: list[tuple[Variant, float, dict[str, Any]]], plain_runs: int, work: Path
) -> int:
    """Render ``case`` under every setting three ways; return 1 where an image differs."""
    jobs = [
        {"scale": scale, "scheduler": scheduler, "out": str(work / f"b{number:02}.png")}
        for number, (_, scale, scheduler) in enumerate(todo)
    ]
    print(f"{case.id}: {len(todo)} settings, {case.settings.width}×{case.settings.height}, "
          f"{case.settings.sample_steps} steps", flush=True)  # fmt: skip
    chosen = [round(index * len(jobs) / plain_runs) for index in range(plain_runs)]
    alone = {index: {**jobs[index], "out": str(work / f"a{index:02}.png")} for index in chosen}
    took = [plain(case, str(base), [job], work) for job in alone.values()]
    each: dict[str, float] = {}
    if took:
        each["a"] = sum(took) / len(took)
        print(f"(a) {each['a']:.1f} s a setting, {min(took):.1f} to {max(took):.1f}: "
              f"{len(took)} of {len(jobs)} were run", flush=True)  # fmt: skip
    kept = plain(case, str(base), jobs, work)
    each["b"] = kept / len(jobs)
    print(f"(b) {kept:.1f} s in one process, reloaded per scale: {each['b']:.2f} s a setting", flush=True)
    clock = Clock()
    run = RunOptions(base=Base(path=str(base)), fresh=True, score_workers=None)
    result = sweep_cases(
        [case], [variant for variant, _, _ in todo], out=work / "run", options=run, progress=clock
    )
    harness = time.perf_counter() - clock.began
    rows = {row.variant: row for row in result.rows}
    engines = sorted({f"{row.rendered.engine} {row.rendered.engine_reason}".strip() for row in result.rows
                      if row.rendered})  # fmt: skip
    print(
        f"(c) {harness:.1f} s by harness sweep, engine {', '.join(engines)}: "
        f"{harness / len(jobs):.2f} s a setting",
        flush=True,
    )
    print(*overhead(clock, harness), sep="\n", flush=True)
    images = [load_rgb(work / "run" / str(rows[variant.name].images.rerun)) for variant, _, _ in todo]
    same_a = sum(np.array_equal(load_rgb(Path(job["out"])), images[index]) for index, job in alone.items())
    same_b = sum(
        np.array_equal(load_rgb(Path(job["out"])), image) for job, image in zip(jobs, images, strict=True)
    )
    print(f"images identical to (c): {same_a} of {len(alone)} of (a), {same_b} of {len(jobs)} of (b)")
    print("   ".join(f"({way}) / (c) = {found * len(jobs) / harness:.2f}×" for way, found in each.items()))
    return 0 if (same_a, same_b) == (len(alone), len(jobs)) else 1


if __name__ == "__main__":
    raise SystemExit(main())

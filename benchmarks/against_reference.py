"""LoRA scales × schedules of one case, three ways on one machine: identical images, and how fast?

    python benchmarks/against_reference.py JOB_DIR --base FOLDER [--scales 4] [--schedules 12] [--plain 2]

(a) the plain script once per setting, of which ``--plain`` are run and the rest is reckoned;
(b) one process that keeps the pipeline and reloads it per LoRA scale; (c) ``harness sweep``, which scores
codec-matched, keeps maps and rows, and renders the case as recorded besides. (a) and (b) are plain.py.
Exit code 1 where an image differs.
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

from harness.aitoolkit import import_job
from harness.case import Base, Case
from harness.reference.spec import FLEX2
from harness.runs.plan import RunOptions
from harness.runs.results import RunResult
from harness.runs.scoring_pool import default_workers
from harness.scoring.images import load_rgb
from harness.variants.grid import Variant, parse_axis, product
from harness.variants.sweep import sweep_cases

SCALES = (0.5, 0.75, 1.0, 1.25)
SCHEDULES: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    *(
        (("dynamic_shifting=off", f"shift={shift}"), {"use_dynamic_shifting": False, "shift": float(shift)})
        for shift in (1, 2, 3, 4, 5, 6)
    ),
    *((("max_shift=" + each,), {"max_shift": float(each)}) for each in ("0.9", "1", "1.3")),
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


def overhead(result: RunResult, wall: float) -> str:
    """Say how much longer a run took than denoising and decoding, once its weights were loaded."""
    rows = [row for row in result.rows if row.rendered is not None]
    rendering = sum(row.seconds["render"] - row.seconds.get("prove", 0) for row in rows)
    loading = max(row.seconds["load"] for row in rows)
    proving = sum(row.seconds.get("prove", 0) for row in rows)
    rest = wall - loading - proving - rendering
    return (
        f"wall {wall:.1f} s = first load {loading:.1f} + compile and proofs {proving:.1f} + render "
        f"{rendering:.1f} + rest {rest:.1f}; rest is {rest / rendering:.1%} of rendering"
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path, help="a job folder, such as benchmarks/make_job.py writes")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base")
    parser.add_argument("--scales", type=int, default=len(SCALES))
    parser.add_argument("--schedules", type=int, default=len(SCHEDULES))
    parser.add_argument("--plain", type=int, default=2, help="settings that (a) really runs")
    options = parser.parse_args()
    base = options.base.resolve()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        cases = import_job(options.job, out=work / "cases").cases
        case = next(case for case in cases if case.lora is not None and case.incomparable is None)
        todo = settings(options.scales, options.schedules)
        jobs = [
            {"scale": scale, "scheduler": scheduler, "out": str(work / f"{number:02}.png")}
            for number, (_, scale, scheduler) in enumerate(todo)
        ]
        print(f"{case.id}: {len(todo)} settings, {case.settings.width}×{case.settings.height}", flush=True)
        alone = [
            plain(case, str(base), [{**job, "out": job["out"].replace(".png", "a.png")}], work)
            for job in jobs[: options.plain]
        ]
        kept = plain(case, str(base), jobs, work)
        started = time.perf_counter()
        run = RunOptions(base=Base(path=str(base)), fresh=True, score_workers=default_workers("auto"))
        result = sweep_cases([case], [variant for variant, _, _ in todo], out=work / "run", options=run)
        harness = time.perf_counter() - started
        rows = {row.variant: row for row in result.rows}
        same = {"a": 0, "b": 0}
        for job, (variant, _, _) in zip(jobs, todo, strict=True):
            image = load_rgb(work / "run" / str(rows[variant.name].images.rerun))
            files = {"a": Path(job["out"].replace(".png", "a.png")), "b": Path(job["out"])}
            for way, file in files.items():
                same[way] += file.exists() and np.array_equal(load_rgb(file), image)
        engines = sorted({row.rendered.engine for row in result.rows if row.rendered})
    each = sum(alone) / len(alone) if alone else float("nan")
    whole = each * len(todo)
    print(f"(a) {each:.1f} s a setting, measured on {len(alone)}: {whole:.0f} s for {len(todo)} (reckoned)")
    print(f"(b) {kept:.1f} s in one process, reloaded per scale")
    print(f"(c) {harness:.1f} s by harness sweep, engine {', '.join(engines)}: {overhead(result, harness)}")
    print(f"images identical to (c): {same['a']} of {len(alone)} of (a), {same['b']} of {len(jobs)} of (b)")
    print(f"(a) / (c) = {whole / harness:.2f}×   (b) / (c) = {kept / harness:.2f}×")
    return 0 if same == {"a": len(alone), "b": len(jobs)} else 1


if __name__ == "__main__":
    raise SystemExit(main())

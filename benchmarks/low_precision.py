"""What a quantized base leaves of a LoRA, in weights and in pictures, on the checkpoint that draws.

    python benchmarks/low_precision.py --jobs 2 --dtype fp32 --json low-precision.json
    python benchmarks/low_precision.py --rows low-precision.json      # the tables of rows made before

Renders the shipped job's prompts with its last LoRA: every quantizer that runs here × each way of applying a
LoRA that it takes × strength, T5 unquantized. Survival is ``harness audit``'s, over every row of the base's
file. SSIM and LPIPS are to the unquantized render of the same strength, and to the same quantized base with
the LoRA live, which shows what rounding took of the LoRA alone. A LoRA that is weaker by as much as is lost
stands beside them, on the unquantized base.

Rows are written to ``--json`` as they are made; the same command goes on with what the file lacks. Needs the
packages of the extra ``quantizers``; without one of them its quantizers are left out, which stderr says.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from harness._util.quiet_libraries import quiet_libraries  # noqa: E402

quiet_libraries()  # in each process, before what it quiets is imported

from harness._util.atomic_files import write_json  # noqa: E402
from harness.data import CHECKPOINTS  # noqa: E402
from harness.importers.aitoolkit import import_job  # noqa: E402
from harness.metrics.images import Pixels  # noqa: E402
from harness.metrics.lpips import Lpips  # noqa: E402
from harness.metrics.score_pair import score_images  # noqa: E402
from harness.pipeline.renderer import ReferenceRenderer  # noqa: E402
from harness.precision.audit import audit  # noqa: E402
from harness.precision.availability import missing  # noqa: E402
from harness.runs.plan import RunOptions, request_of  # noqa: E402
from harness.schema.case import load_cases  # noqa: E402
from harness.schema.quantizers import ACTIVATIONS_LEFT, NAMED_ALONE, QUANTIZERS  # noqa: E402
from harness.schema.render import RenderRequest, lora_modes  # noqa: E402

JOB = ROOT / "harness" / "data" / "jobs" / "emoji_inkprint"
STRENGTHS = (0.2, 0.5, 1.0)
WEAKER = (0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95)
"""Shares of a strength that are rendered on the unquantized base."""
WAY_OF = {"adapter": "live", "peft": "live", "fp32": "fused", "merged": "merged", "stochastic": "stochastic"}
"""What the audit calls a case's ``lora_mode``."""
SAME_WEIGHTS = {name for name in QUANTIZERS if name.endswith(ACTIVATIONS_LEFT)}
NOT_RENDERED = {"uint8", "qint4", "qint2", *SAME_WEIGHTS, *NAMED_ALONE}
"""The first changes nothing; optimum-quanto compiles for minutes before the next two's first use; the next
have the weights of others; the checkpoint's rows are too short for K-quants."""
BINS = (0.0, 0.01, 0.05, 0.15, 0.5, 1.01)
"""Shares that are lost, by which renders are counted together."""
MIN_LOST = 0.04
Row = dict[str, Any]


def main() -> None:
    """Render and measure what was asked for, or take it from a file, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--dtype", default="bf16", help="bf16 as the job, or fp32: faster without AVX-512")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, help="denoising steps; default: each case's own")
    parser.add_argument("--cases", type=int, default=2, help="prompts of the job, 1 to 4")
    parser.add_argument("--quantize", action="append", help="default: every one that runs here")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no more renders after that")
    parser.add_argument("--json", type=Path, help="write one row for each render here, and go on with them")
    parser.add_argument("--rows", type=Path, help="take the rows from here, and render nothing")
    chosen = parser.parse_args()
    report(json.loads(chosen.rows.read_text(encoding="utf-8")) if chosen.rows else made(chosen))


def made(chosen: argparse.Namespace) -> list[Row]:
    """Return the rows of every quantizer, case and strength, which processes take in turn."""
    started, names = time.monotonic(), ["none", *(chosen.quantize or usual())]
    options = {"dtype": chosen.dtype, "device": chosen.device, "steps": chosen.steps}
    rows = known_rows(chosen.json, options)
    with tempfile.TemporaryDirectory() as folder:
        import_job(JOB, out=Path(folder), steps="last")
        cases = load_cases([Path(folder)])[: chosen.cases]
        there = {(row["quantize"], row["case"], row["strength"]) for row in rows}
        lacking = [
            (name, number, strength)
            for number, name, strength in itertools.product(range(len(cases)), names, STRENGTHS)
            if (name, cases[number].id, strength) not in there
        ]
        left = sum(len(modes_of(name, chosen.dtype)) for name, _, _ in lacking)
        print(f"{len(rows)} renders are there, {left} more are to be made", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
            deadline = time.time() + chosen.seconds
            tasks = [pool.submit(rows_of, Path(folder), *task, options, deadline) for task in lacking]
            for done in as_completed(tasks):
                rows += done.result()
                print(f"{len(rows)} renders, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
                if chosen.json:
                    write_json(chosen.json, rows)
    return rows


def known_rows(file: Path | None, options: Row) -> list[Row]:
    """Return the rows of an earlier run with the same options."""
    if file is None or not file.exists():
        return []
    rows: list[Row] = json.loads(file.read_text(encoding="utf-8"))
    if any(row.get(name) != value for row in rows for name, value in options.items()):
        sys.exit(f"{file} has rows of other options than {options}: name another file")
    return rows


def modes_of(name: str, dtype: str) -> list[str]:
    """Return what is rendered of one quantizer, case and strength: ways, or shares of the strength."""
    if name == "none":
        return [f"{share:g}" for share in WEAKER]
    same = "peft" if dtype == "fp32" else None  # as adapter there
    return [mode for mode in WAY_OF if mode in lora_modes(name) and mode != same]


def usual() -> list[str]:
    """Return the quantizers that run here and change anything, those with most ways first."""
    for name, why in ((name, missing(name)) for name in QUANTIZERS):
        if why is not None:
            print(f"{name} is left out: it {why}", file=sys.stderr)
    able = [name for name in QUANTIZERS if missing(name) is None and name not in NOT_RENDERED]
    return sorted(able, key=lambda name: -len(lora_modes(name)))


@cache
def renderer(device: str) -> ReferenceRenderer:
    """Return the renderer of this process."""
    return ReferenceRenderer(device=device)


@cache
def lpips() -> Lpips:
    """Return the LPIPS network of this process."""
    return Lpips()


@cache
def unquantized(request: RenderRequest, device: str) -> Pixels:
    """Return a render of this process, each once."""
    return renderer(device).render(request).image


def rows_of(
    folder: Path, name: str, number: int, strength: float, options: Row, deadline: float
) -> list[Row]:
    """Return the rows of one quantizer, case and strength; none where the time is over."""
    if time.time() > deadline:
        return []
    case = load_cases([folder])[number]
    device = options["device"]
    own = request_of(case, RunOptions(), device)
    own = dataclasses.replace(
        own, dtype=options["dtype"], sample_steps=options["steps"] or own.sample_steps, lora_mode="fp32"
    )
    request = at_strength(own, strength)
    wanted = unquantized(request, device)
    rows: list[Row] = []
    if name == "none":
        rows += weaker_rows(request, strength, wanted, device)
    else:
        rows += quantized_rows(request, name, modes_of(name, options["dtype"]), wanted, device)
    return [{**row, **options, "strength": strength, "case": case.id} for row in rows]


def quantized_rows(
    request: RenderRequest, name: str, modes: list[str], wanted: Pixels, device: str
) -> Iterator[Row]:
    """Yield how far a quantizer's renders are from the unquantized one, and from its own, LoRA live."""
    quantized = dataclasses.replace(request, quantize=f"{name}-transformer")  # type: ignore[arg-type]
    live = renderer(device).render(dataclasses.replace(quantized, lora_mode="adapter")).image
    for mode in modes:
        image = live
        if mode != "adapter":
            image = renderer(device).render(dataclasses.replace(quantized, lora_mode=mode)).image
        row = {"quantize": name, "mode": mode, **survival(request, name, mode)}
        yield row | scores("unquantized", wanted, image) | scores("live", live, image)


def weaker_rows(request: RenderRequest, strength: float, wanted: Pixels, device: str) -> Iterator[Row]:
    """Yield what a weaker LoRA on the unquantized base is from that of full strength."""
    for share in WEAKER:
        image = unquantized(at_strength(request, round(strength * share, 4)), device)
        yield {
            "quantize": "none", "mode": "weaker", "survival": share, "cosine": 1.0,
            **scores("unquantized", wanted, image),
        }  # fmt: skip


def at_strength(request: RenderRequest, strength: float) -> RenderRequest:
    """Return a request whose LoRA has another strength."""
    assert request.lora is not None
    return dataclasses.replace(request, lora=dataclasses.replace(request.lora, network_multiplier=strength))


def survival(request: RenderRequest, name: str, mode: str) -> Row:
    """Return what of the LoRA survives in the weights, over all layers."""
    assert request.lora is not None
    found = audited(request.lora.file, name, request.lora.network_multiplier)
    return {key: found[WAY_OF[mode]][key] for key in ("survival", "cosine")}


@cache
def audited(lora: Path, name: str, strength: float) -> dict[str, Row]:
    """Return an audit's shares by way."""
    total = audit(lora, base=CHECKPOINTS / "tiny-flex2-emoji", quantizers=[name], multiplier=strength).total
    return {way: each.to_json() for (_, way), each in total.items()}


def scores(prefix: str, wanted: Pixels, image: Pixels) -> Row:
    """Return SSIM and LPIPS of two renders."""
    found = score_images(wanted, image, lpips())
    return {f"ssim_{prefix}": found.ssim, f"lpips_{prefix}": found.lpips}


def report(rows: list[Row]) -> None:
    """Print both tables."""
    cases = len({row["case"] for row in rows})
    print(f"{len(rows)} renders of {cases} prompts; SSIM and LPIPS are means over the prompts\n")
    print("Against the unquantized render of the same strength: survives / SSIM / LPIPS\n")
    head = " | ".join(f"strength {strength:g}" for strength in STRENGTHS)
    print(f"| quantizer | LoRA | {head} |\n|{'---|' * (2 + len(STRENGTHS))}")
    for name in [name for name in QUANTIZERS if any(row["quantize"] == name for row in rows)]:
        for mode in WAY_OF:
            cells = [cell([row for row in rows if key(row) == (name, mode, each)]) for each in STRENGTHS]
            if any(cells):
                print(f"| `{name}` | {mode} | {' | '.join(cells)} |")
    relation(rows)


def relation(rows: list[Row]) -> None:
    """Print how much of the LoRA's effect is gone by the share of it that its weights lost."""
    print("\nLPIPS to the same base with the LoRA live, in parts of the LoRA's effect (LPIPS to the render")
    print("without it), by what its weights lost; and of a LoRA that is weaker by that, unquantized:")
    print("median and 10th to 90th percentile\n")
    effect = {of(row): row["lpips_unquantized"] for row in rows if is_weaker(row) and row["survival"] == 0}
    rows = [row for row in rows if of(row) in effect]  # others are of a run that has not ended
    print("| lost | renders | of the effect | weaker | of the effect |\n|---|---|---|---|---|")
    for low, high in itertools.pairwise(BINS):
        found = [row for row in rows if low <= 1 - row["survival"] < high]
        merged = [row["lpips_live"] / effect[of(row)] for row in found if row["mode"] == "merged"]
        weaker = [row["lpips_unquantized"] / effect[of(row)] for row in found if is_weaker(row)]
        cells = f"{len(merged)} | {spread(merged)} | {len(weaker)} | {spread(weaker)}"
        print(f"| {low:.0%} to {min(high, 1):.0%} | {cells} |")
    shares = [share for row in rows if row["mode"] == "merged" and (share := sum_share(row, rows))]
    print(
        "\nLPIPS to the unquantized render, by the sum of a weaker LoRA's and of the rounded base's with the"
    )
    print(f"LoRA live, where at least {MIN_LOST:.0%} is lost: {spread(shares)} in {len(shares)} renders")


def sum_share(row: Row, rows: list[Row]) -> float | None:
    """Return a merged render's LPIPS by the sum of loss and base, each alone; None where little is lost."""
    if 1 - row["survival"] < MIN_LOST:
        return None
    alone = next(each for each in rows if key(each) == (row["quantize"], "adapter", row["strength"])
                 and each["case"] == row["case"])  # fmt: skip
    known = {
        each["survival"]: each["lpips_unquantized"]
        for each in rows
        if is_weaker(each) and of(each) == of(row)
    }
    known[1.0] = 0.0
    weaker = float(np.interp(row["survival"], sorted(known), [known[each] for each in sorted(known)]))
    return float(row["lpips_unquantized"] / (weaker + alone["lpips_unquantized"]))


def of(row: Row) -> tuple[str, float]:
    """Return which render a row is compared with."""
    return row["case"], row["strength"]


def is_weaker(row: Row) -> bool:
    """Whether a row is of a weaker LoRA on the unquantized base."""
    return bool(row["mode"] == "weaker")


def spread(values: list[float]) -> str:
    """Return a median and the 10th and 90th percentiles."""
    if not values:
        return "–"
    low, high = np.percentile(values, [10, 90])
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def key(row: Row) -> tuple[str, str, float]:
    """Return a row's cell."""
    return row["quantize"], row["mode"], row["strength"]


def cell(rows: list[Row]) -> str:
    """Return survival and mean scores of a cell, or nothing where it was not rendered."""
    if not rows:
        return ""
    ssim, lpips_ = (statistics.mean(row[f"{name}_unquantized"] for row in rows) for name in ("ssim", "lpips"))
    return f"{statistics.mean(row['survival'] for row in rows):.0%} / {ssim:.3f} / {lpips_:.3f}"


if __name__ == "__main__":
    main()

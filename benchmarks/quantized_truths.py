"""How often ``harness diagnose`` names the quantizer, among all that it tries, of a preview that has one.

    python benchmarks/quantized_truths.py --jobs 2 --truths FOLDER --json rows.json
    python benchmarks/quantized_truths.py --jobs 2 --truths FOLDER --compare 120

A truth is a preview of the shipped job, rendered with one quantizer and one way of applying its LoRA that the
case does not follow. What a diagnosis tries only where the job recorded it (convrot, orbit, ``qfloat8_e5m2``)
is recorded there, by its ``qtype``. It is right where the cause or a rival within the floor ("cannot tell
apart") names the quantizer; one within the floor of the unquantized render has nothing to explain and is
counted apart. ``--compare`` asks ``harness compare`` instead, of the same pictures as those of a tool that
states nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.diagnosis import JOB, ProcessPoolExecutor, base_cases, diagnosed, get_context, renderer  # noqa: E402
from benchmarks.low_precision import NOT_RENDERED, SAME_WEIGHTS  # noqa: E402
from harness.diagnosis.floor import Floor  # noqa: E402
from harness.diagnosis.trials import TrialRenderer  # noqa: E402
from harness.precision.availability import missing  # noqa: E402
from harness.runs.plan import RunOptions, request_of  # noqa: E402
from harness.schema.case import load_case  # noqa: E402
from harness.schema.quantizers import ACTIVATIONS_LEFT, QUANTIZERS, quantizer_of  # noqa: E402
from harness.schema.render import lora_modes  # noqa: E402
from harness.sweeps.axes import UNTRIED_QUANTIZERS  # noqa: E402
from harness.sweeps.axis import Context  # noqa: E402
from tests.diagnosis.truths import FORMATS, changed, rendered_with  # noqa: E402

Row = dict[str, Any]


def main() -> None:
    """Make the truths, diagnose them, print the table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bf16", help="of the job; fp32 is faster without AVX-512")
    parser.add_argument("--steps", type=int, help="denoising steps; default: drawn from 8, 12, 16")
    parser.add_argument("--only", help="names of truths, comma-separated, as in nf4-merged; no others")
    parser.add_argument("--recorded", action="store_true", help="only those that the job recorded")
    parser.add_argument("--compare", type=float, metavar="RENDERS", help="compare, with so many renders")
    parser.add_argument("--limit", type=int, help="at most so many truths")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no diagnosis after that")
    parser.add_argument("--truths", type=Path, required=True, help="folder of truths, made there once")
    parser.add_argument("--json", type=Path, help="write one row for each diagnosis here")
    chosen = parser.parse_args()
    cases = chosen.truths / "cases"
    base_cases(JOB, cases)
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        only = {f"quantized{chosen.seed}-{name}" for name in (chosen.only or "").split(",") if name}
        names = [
            each
            for each in truths(chosen.seed)
            if (not only or each[0] in only) and (each[0].endswith("-recorded") or not chosen.recorded)
        ][: chosen.limit]
        rows = list(pool.map(made, *zip(*((cases, chosen, *each) for each in names), strict=True)))
    found = []
    started = time.perf_counter()
    for number, answer in answers(rows, chosen):
        found.append(judged({**rows[number], **answer}))
        print(line(found[-1]), flush=True)
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    report(found, len(rows), time.perf_counter() - started)


def answers(rows: list[Row], chosen: argparse.Namespace) -> Iterator[tuple[int, Row]]:
    """Yield the number of each truth and what was answered, as it comes."""
    if chosen.compare is None:
        yield from diagnosed([{"case": row["file"]} for row in rows], ROOT, chosen.jobs, chosen.seconds)
        return
    ends = time.perf_counter() + chosen.seconds
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        asked = [pool.submit(compared, row["file"], chosen.compare, ends) for row in rows]
        for number, each in enumerate(asked):
            if (answer := each.result()) is not None:
                yield number, answer


def compared(file: str, budget: float, ends: float) -> Row | None:
    """Return what a comparison of a truth's picture says, as a diagnosis does; None after ``ends``.

    ``perf_counter`` is the system's, the same in every process.
    """
    from harness.comparison.compare import compare

    if time.perf_counter() > ends:
        return None
    case = load_case(Path(file))
    found = compare(case, case.preview_path, budget=budget)
    proof = found.proof
    return {
        "explained": proof is not None and proof.reached,
        "causes": [{"axis": row.setting, "value": row.inference} for row in found.differences],
        "spent": 0.0 if proof is None else proof.spent,
    }  # fmt: skip


def truths(seed: int) -> list[tuple[str, str, str]]:
    """Return a name, quantize and lora_mode of every truth, in an order that the seed draws."""
    found = []
    for name, each in QUANTIZERS.items():
        if missing(name) is not None or name in NOT_RENDERED - SAME_WEIGHTS:
            continue
        if each.is_rotated or each.is_orbit or name in UNTRIED_QUANTIZERS:
            found.append((f"quantized{seed}-{name}-recorded", name, "adapter"))
        else:
            end = "" if each.side == "trainer" else "-transformer"
            modes = ("adapter",) if each.side == "trainer" else sorted(lora_modes(name) - {"none", "peft"})
            found += [(f"quantized{seed}-{name}-{mode}", f"{name}{end}", mode) for mode in modes]
    random.Random(seed).shuffle(found)
    return found


def made(cases: Path, chosen: argparse.Namespace, stem: str, quantize: str, mode: str) -> Row:
    """Make one truth, unless its files are there, and return its row."""
    draw = random.Random(stem)
    bases = [case for case in base_cases(JOB, cases) if case.id.startswith(JOB.name)]
    steps = chosen.steps or draw.choice((8, 12, 16))
    case = changed(draw.choice(bases), width=128, height=128, sample_steps=steps, dtype=chosen.dtype)
    if stem.endswith("-recorded"):
        record = {"quantize": True, "quantize_te": True, "qtype": quantize.removesuffix(ACTIVATIONS_LEFT)}
        case = case.model_copy(update={"trained": case.trained.model_copy(update=record)})
    settings, kind = {"quantize": quantize, "lora_mode": mode}, draw.choice(FORMATS)
    file = cases / f"{stem}.case.yaml"
    if not file.exists():
        rendered_with(settings, case, renderer(), f"{stem}.{kind}")
    case = load_case(file)
    trials = TrialRenderer(Context(case, request_of(case, RunOptions(), "cpu"), "cpu"), renderer())
    plain = trials.trial({})
    return {
        "name": stem, "factors": settings, "file": str(file), "distance": round(plain.distance, 2),
        "within_floor": Floor(trials).covers(plain),
    }  # fmt: skip


def judged(row: Row) -> Row:
    """Say whether the answer names the quantizer, as a cause or among what cannot be told apart."""
    wanted = quantizer_of(row["factors"]["quantize"])[0]
    named = {cause["axis"]: cause["value"] for cause in row.get("causes", [])}
    row["named"] = named
    row["cause"] = (
        bool(row.get("explained")) and quantizer_of(str(named.get("quantize", "none")))[0] == wanted
    )
    row["rival"] = any(f"quantize = {wanted}" in each for each in row.get("rivals", []))
    row["whole"] = row["cause"] and named == row["factors"]
    return row


def line(row: Row) -> str:
    """Return one truth and its answer."""
    how = (
        "cause" if row["cause"] else "rival" if row["rival"] else "floor" if row["within_floor"] else "MISSED"
    )
    named = row.get("error") or ", ".join(f"{axis} = {value}" for axis, value in row["named"].items())
    cost = f"{row.get('spent', 0):5.1f} renders, distance {row['distance']:5.2f}"
    quantize, mode = row["factors"].values()
    return f"{how:7} {quantize:28} {mode:11} {cost}: {named or 'nothing'}"


def report(rows: list[Row], wanted: int, seconds: float) -> None:
    """Print how often the quantizer was named."""
    told = [row for row in rows if not row["within_floor"]]
    causes, rivals = sum(row["cause"] for row in told), sum(row["rival"] and not row["cause"] for row in told)
    print(f"\n{len(rows)} of {wanted} truths diagnosed in {seconds:.0f} s")
    print(f"outside the floor: {causes} of {len(told)} named, {rivals} more among what cannot be told apart")
    within = [row for row in rows if row["within_floor"]]
    named = sum(row["cause"] for row in within)
    print(f"within the floor of the unquantized render: {len(within)}, {named} named")
    spent = sorted(row["spent"] for row in told if "spent" in row)
    if spent:
        print(f"renders: median {spent[len(spent) // 2]:.1f}, at most {spent[-1]:.1f}")


if __name__ == "__main__":
    main()

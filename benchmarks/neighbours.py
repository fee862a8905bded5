"""Previews whose checkpoint is taken away: are they outside of their neighbours when a setting is wrong?

    python benchmarks/neighbours.py [JOB_DIR …] [--close]

For every trained step of a job with saved steps around it, renders both with the right settings and with
wrong ones, and compares rules for ``outside``: a good one says so of wrong settings, and not of right ones.
Default: the shipped job, 8 previews, 144 renders, about 5 minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.importers.aitoolkit import import_job  # noqa: E402
from harness.metrics.codec import Codec  # noqa: E402
from harness.metrics.images import Pixels, load_rgb  # noqa: E402
from harness.metrics.lpips import Lpips  # noqa: E402
from harness.metrics.score_pair import score_images  # noqa: E402
from harness.runs.plan import RunOptions, request_of  # noqa: E402
from harness.runs.session import open_renderer  # noqa: E402
from harness.schema.case import Case  # noqa: E402
from harness.schema.render import RenderRequest, Shift  # noqa: E402

Change = Callable[[RenderRequest], RenderRequest]


def _half_lora(request: RenderRequest) -> RenderRequest:
    return replace(
        request,
        lora=request.lora and replace(request.lora, network_multiplier=0.5 * request.lora.network_multiplier),
    )


CONTROLS: dict[str, Change] = {
    "right": lambda request: request,
    "other kernel": lambda request: replace(request, t5_attention="sdpa"),
    "guidance + 1": lambda request: replace(request, guidance_scale=request.guidance_scale + 1),
    "guidance 7": lambda request: replace(request, guidance_scale=7.0),
    "steps × 0.6": lambda request: replace(request, sample_steps=round(request.sample_steps * 0.6)),
    "half the shift": lambda request: replace(request, shift=Shift(base_shift=-0.19, max_shift=0.46)),
    "LoRA × 0.5": _half_lora,
    "seed + 1": lambda request: replace(request, seed=request.seed + 1),
    "other noise era": lambda request: replace(request, noise="legacy"),
}  # fmt: skip
Distances = dict[str, list[float]]
"""By metric: preview to the step before, preview to the step after, those two from each other."""

RULES = {
    f"{metric} {times:g}×": (metric, times) for metric in ("mean", "lpips") for times in (1, 1.25, 1.5, 2)
}
"""A preview is outside if it is so many times farther from the nearer render than the two are apart."""


def is_outside(found: Distances, metric: str, times: float) -> bool:
    """Apply one rule."""
    before, after, apart = found[metric]
    return min(before, after) > times * apart


def gaps(cases: list[Case]) -> Iterator[tuple[Case, Case, Case]]:
    """Yield every trained case that has cases of the same sample at the steps before and after it."""
    by_index: dict[int | None, list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.preview.step or 0):
        by_index[case.preview.index].append(case)
    for found in by_index.values():
        yield from zip(found[1:], found, found[2:], strict=False)


def distances(preview: Path, renders: list[Pixels], lpips: Lpips) -> Distances:
    """Return how far the preview and its neighbours' renders, through its codec, are from each other."""
    codec, shown = Codec.of(preview), load_rgb(preview)
    before, after = map(codec.apply, renders)
    pairs = [score_images(a, b, lpips) for a, b in ((shown, before), (shown, after), (before, after))]
    return {"mean": [pair.pixels.mean_abs for pair in pairs], "lpips": [pair.lpips for pair in pairs]}


def measure(cases: list[Case], close: bool) -> dict[str, dict[str, Distances]]:
    """Return the distances of every gap by case and control.

    Args:
        close: put the case's own LoRA, 5 % weaker and stronger, in place of its neighbours.
    """
    lpips, options = Lpips(), RunOptions(device="cpu")
    found: dict[str, dict[str, Distances]] = {}
    triples = list(gaps(cases))
    with open_renderer(cases, options) as (device, renderer):
        for case, *around in triples:
            own = request_of(case, options, device)
            loras = [request_of(near, options, device).lora for near in around]
            if close and own.lora is not None:
                loras = [replace(own.lora, network_multiplier=scale) for scale in (0.95, 1.05)]
            found[case.id] = {}
            for name, change in CONTROLS.items():
                renders = [renderer.render(change(replace(own, lora=lora))).image for lora in loras]
                found[case.id][name] = distances(case.preview_path, renders, lpips)
    return found


def main() -> None:
    """Measure and print how often each rule says ``outside``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", type=Path, default=[ROOT / "harness/data/jobs/emoji_inkprint"])
    parser.add_argument("--config", type=Path, help="the config of the jobs")
    parser.add_argument("--close", action="store_true", help="neighbours that differ by 10 % of the LoRA")
    parser.add_argument("--json", type=Path, help="keep every distance there")
    options = parser.parse_args()
    found: dict[str, dict[str, Distances]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, job in enumerate(options.jobs):
            out = Path(folder) / str(number)
            found |= measure(import_job(job, out=out, config=options.config).cases, options.close)
    if options.json:
        options.json.write_text(json.dumps(found))
    print(f"outside, of {len(found)} previews" + "".join(f"{name:>12}" for name in RULES))
    for control in CONTROLS:
        counts = [sum(is_outside(each[control], *rule) for each in found.values()) for rule in RULES.values()]
        print(f"{control:22}" + "".join(f"{count:>12}" for count in counts))


if __name__ == "__main__":
    main()

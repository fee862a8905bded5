"""The shipped job's previews, re-rendered in equally valid ways and with mildly wrong settings.

``set_verdict.py`` and ``metrics.py`` judge these renders. The cases say what the job was sampled with: T5's
sdpa attention and the current noise, so that every torch and transformers renders the job's own settings.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.calibration.controls import OTHER_ATTENTION  # noqa: E402
from harness.importers.aitoolkit import import_job  # noqa: E402
from harness.metrics.images import save_png  # noqa: E402
from harness.runs.plan import RunOptions, plan  # noqa: E402
from harness.schema.case import Case, load_cases, save_case  # noqa: E402
from harness.schema.render import LoraMode, RenderRequest, Shift  # noqa: E402
from harness.schema.spec import FLEX2  # noqa: E402

if TYPE_CHECKING:
    from harness.pipeline.renderer import ReferenceRenderer

PROCESSORS = {"native": {}, "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
Change = Callable[[RenderRequest], RenderRequest]


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
"""The controls that ``harness calibrate`` calls noise."""

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
NAMED = tuple(MILD)[:4]
"""The mild wrong settings that must be seen; the others are milder still."""


def cases_in(folder: Path) -> list[Case]:
    """Return the job's cases, imported into ``folder`` unless they are there, with the job's own kernel."""
    cases = folder / "cases"
    if not cases.is_dir():
        import_job(ROOT / "harness/data/jobs/emoji_inkprint", out=cases)
        for case in load_cases([cases]):
            own = {"t5_attention": "sdpa", "noise": "current"}
            save_case(case.model_copy(update=own), case.folder / f"{case.name}.case.yaml")
    return load_cases([cases])


def image_of(folder: Path, processor: str, control: str, case: Case) -> Path:
    """Return where a render lies."""
    return folder / "renders" / processor / control / f"{case.name}.png"


def render_all(folder: Path, processors: list[str], jobs: int, seconds: float) -> None:
    """Render what is not there, one processor after the other, in ``jobs`` processes.

    Args:
        seconds: no render is begun after that.
    """
    ends = time.time() + seconds
    for processor in processors:
        groups = _to_render(folder, processor)
        with (
            _environment(OMP_NUM_THREADS="1", **PROCESSORS[processor]),
            ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool,
        ):
            for future in as_completed([pool.submit(_render, *group, ends) for group in groups]):
                future.result()


def _to_render(folder: Path, processor: str) -> list[tuple[RenderRequest, list[Path]]]:
    """Return each request with the files that its render belongs in, the longest first.

    Controls of a LoRA leave a preview without one as it is: their renders are made once.
    """
    files: dict[RenderRequest, list[Path]] = {}
    planned = plan(cases_in(folder), RunOptions(device="cpu"), "cpu")
    for name, change in {**NOISE, **MILD}.items():
        for item in planned:
            assert item.request is not None
            found = files.setdefault(change(item.request), [])
            found.append(image_of(folder, processor, name, item.case))
    missing = [(request, found) for request, found in files.items() if not all(map(Path.exists, found))]
    return sorted(missing, key=lambda each: -each[0].batch)


@contextlib.contextmanager
def _environment(**changes: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _render(request: RenderRequest, files: list[Path], ends: float) -> None:
    if time.time() > ends:
        return
    image = _renderer().render(request).image
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_png(file, image)


@functools.cache
def _renderer() -> ReferenceRenderer:
    from harness.pipeline.renderer import ReferenceRenderer

    return ReferenceRenderer(device="cpu")

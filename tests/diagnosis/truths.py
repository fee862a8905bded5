"""Cases whose cause is known: a preview rendered with one or two settings that the case does not record."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.diagnosis.trials import TrialRenderer
from harness.errors import HarnessError
from harness.importers.aitoolkit import import_job
from harness.metrics.codec import Codec
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case, Preview, save_case
from harness.schema.render import Renderer
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context
from harness.sweeps.axis_values import Value

SIZE, STEPS = 128, 6
AXES_ON_CPU = tuple(name for name in AXES if name not in {"generator", "shift"})
Factors = dict[str, Value]


@dataclass(frozen=True)
class Truth:
    """A case and what its preview was really rendered with.

    Attributes:
        recorded: the value that the case records, by axis.
    """

    case: Case
    factors: Factors
    recorded: Factors


def base_cases(job: Path, folder: Path) -> list[Case]:
    """Import a genuine job and return its cases with a LoRA, made small; their files lie in ``folder``."""
    cases = import_job(job, out=folder, steps="all").cases
    return [_small(case) for case in cases if case.lora is not None and case.incomparable is None]


def in_fp32(case: Case) -> Case:
    """Return the case as if its job had trained in fp32, which a CPU renders twice as fast."""
    made = case.model_copy(update={"trained": case.trained.model_copy(update={"dtype": "fp32"})})
    made._file = case._file
    return made


def _small(case: Case, width: int = SIZE, height: int = SIZE) -> Case:
    settings = case.settings.model_copy(update={"width": width, "height": height, "sample_steps": STEPS})
    small = case.model_copy(update={"settings": settings})
    small._file = case._file
    return small


def truths(bases: list[Case], axes: list[tuple[str, ...]], renderer: Renderer, seed: int) -> Iterator[Truth]:
    """Yield one truth per entry of ``axes``, with values drawn from the axes' candidates."""
    for number, names in enumerate(axes):
        yield truth(bases, names, renderer, f"truth{seed}-{number:03d}")


def truth(bases: list[Case], names: tuple[str, ...], renderer: Renderer, stem: str) -> Truth:
    """Return the truth called ``stem``, which decides the draw.

    A draw that changes no pixel of the preview after its codec (or not by each of its factors) is drawn
    again: nobody could find it. Steps above 16 are not drawn: on a CPU they take long.
    """
    draw = random.Random(stem)
    while True:
        case = draw.choice(bases)
        if not {"noise", "attention", "lora_mode", "dtype"} & set(names):
            case = in_fp32(case)
        if "divisor" in names:
            case = _small(case, SIZE + 24, SIZE + 40)
        if made := _truth(case, names, renderer, draw, stem):
            return made


def _truth(
    case: Case, names: tuple[str, ...], renderer: Renderer, draw: random.Random, stem: str
) -> Truth | None:
    context = Context(case, request_of(case, RunOptions(), "cpu"), "cpu")
    trials = TrialRenderer(context, renderer)
    factors: Factors = {}
    recorded: Factors = {}
    for name in names:
        axis = AXES[name]
        recorded[name] = axis.read(context, context.request)
        values = [value for value in axis.candidates(context) if axis.problem(context, value) is None]
        values = [value for value in values if value != recorded[name] and not _is_slow(name, value)]
        if name == "divisor":
            values = [16]
        if not values:
            return None
        factors[name] = draw.choice(values)
    try:
        preview = trials.trial(factors)
        codec = _write(case, preview.image, draw.choice(["jpg", "png"]), stem)
        smaller = [{key: factors[key] for key in names if key != name} for name in names]
        shown = codec.apply(preview.image)
        if any(_same(shown, codec.apply(trials.trial(less).image)) for less in ({}, *smaller)):
            return None
    except HarnessError:
        return None
    file = _file(case, codec, stem)
    height, width = preview.image.shape[:2]
    made = case.model_copy(
        update={
            "id": stem,
            "preview": Preview(
                file=f"previews/{file.name}",
                sha256=sha256_file(file),
                width=width,
                height=height,
                step=case.preview.step,
                index=case.preview.index,
            ),
        }
    )
    return Truth(save_case(made, case.folder / f"{stem}.case.yaml"), factors, recorded)


def _is_slow(name: str, value: Value) -> bool:
    return name == "steps" and int(value) > 16


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))


def _file(case: Case, codec: Codec, stem: str) -> Path:
    return case.folder / "previews" / f"{stem}.{'jpg' if codec.format == 'jpeg' else 'png'}"


def _write(case: Case, image: np.ndarray, suffix: str, stem: str) -> Codec:
    file = case.folder / "previews" / f"{stem}.{suffix}"
    Image.fromarray(image).save(file)  # Pillow's defaults, as the trainer
    return Codec.of(file)


def double(factors: tuple[str, str]) -> tuple[str, ...]:
    """Return two axes in the order of the axes."""
    return tuple(sorted(factors, key=list(AXES).index))

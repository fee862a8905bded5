"""Cases whose cause is known: a preview rendered with settings that the case does not record."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.diagnosis.floor import MIN_FLOOR, Floor
from harness.diagnosis.trials import TrialRenderer
from harness.errors import HarnessError
from harness.importers.aitoolkit import import_job
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case, Preview, load_case, load_cases, save_case
from harness.schema.render import Renderer
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context
from harness.sweeps.axis_values import Value
from harness.sweeps.dialect_axes import DIALECT_AXES
from harness.sweeps.equal_renders import Effective, effective

SIZES = ((128, 128), (128, 128), (160, 128), (96, 128))
STEPS = (8, 12, 16, 20)
FORMATS = ("jpg", "png", "webp")
ANOTHER_MACHINE = 0.4
"""Standard deviation, in levels, of the rounding noise that a preview without a fault may have."""
_NOT_DRAWN = {"generator", "shift", *(axis.name for axis in DIALECT_AXES)}
AXES_ON_CPU = tuple(name for name in AXES if name not in _NOT_DRAWN)
ROUNDED = {"attention": 0.0, "lora_mode": 0.0, "dtype": 0.0, "t5_attention": MIN_FLOOR}
"""Axes that only round otherwise, with the distance from which there is something to explain: any pixel that
differs, or half a level. Of any other axis it is the floor: what is within it is explained as it is."""
Factors = dict[str, Value]

_VALUES: Mapping[str, tuple[Value, ...]] = {
    "guidance_scale": tuple(tenths / 10 for tenths in range(10, 80)),
    "network_multiplier": tuple(round(0.05 * count, 2) for count in range(6, 31)),
    "steps": tuple(range(4, 25)),
    "base_shift": (0.0, 0.2, 0.3, 0.4, 0.7, 0.8, 0.9),
    "max_shift": (0.8, 0.9, 1.0, 1.3, 1.4, 1.5),
    "divisor": (16,),
}
"""Values of a number that users type, whether the search has them among its usual ones or not."""


@dataclass(frozen=True)
class Truth:
    """A case and what its preview was really rendered with; no factors where nothing is wrong."""

    case: Case
    factors: Factors


MAX_DRAWS = 40


def base_cases(job: Path, folder: Path) -> list[Case]:
    """Import a genuine job and return its cases with a LoRA; their files lie in ``folder``.

    Its step-0 previews are no controls of previews that are made here, and are left out.
    """
    if not folder.exists():
        for case in import_job(job, out=folder, steps="all").cases:
            if case.preview.step == 0:
                _file(case).unlink()
    return [case for case in load_cases([folder]) if case.lora is not None and case.incomparable is None]


def changed(case: Case, **settings: object) -> Case:
    """Return ``case`` with other settings, in the same folder; ``dtype`` is the job's."""
    dtype = settings.pop("dtype", case.trained.dtype)
    made = case.model_copy(
        update={
            "settings": case.settings.model_copy(update=settings),
            "trained": case.trained.model_copy(update={"dtype": dtype}),
        }
    )
    made._file = case._file
    return made


def truth(bases: list[Case], names: tuple[str, ...], renderer: Renderer, stem: str) -> Truth | None:
    """Return the truth called ``stem``, which decides the draw; its files lie in the bases' folder.

    A draw is made again where nobody could find it: where without one of its factors the preview would be
    within the floor, or, of axes that only round otherwise, the same. None where every draw is such a one.
    """
    draw = random.Random(stem)
    for _ in range(MAX_DRAWS):
        width, height = (152, 168) if "divisor" in names else draw.choice(SIZES)
        settings = {"width": width, "height": height, "sample_steps": draw.choice(STEPS)}
        case = changed(draw.choice(bases), **settings, dtype=draw.choice(["bf16", "fp32"]))
        if made := _truth(case, names, renderer, draw, stem):
            return made
    return None


def trials_of(case: Case, renderer: Renderer, device: str = "cpu") -> TrialRenderer:
    """Return what renders trials of ``case``; on another device they are named only, and rendered here."""
    return TrialRenderer(Context(case, request_of(case, RunOptions(), "cpu"), device), renderer)


def _truth(
    case: Case, names: tuple[str, ...], renderer: Renderer, draw: random.Random, stem: str
) -> Truth | None:
    context = Context(case, request_of(case, RunOptions(), "cpu"), "cpu")
    trials = TrialRenderer(context, renderer)
    factors: Factors = {}
    for name in names:
        axis = AXES[name]
        own = axis.read(context, context.request)
        values = _VALUES.get(name) or tuple(
            value for value in axis.candidates(context) if axis.problem(context, value) is None
        )
        others = [value for value in values if value != own]
        if not others:
            return None
        factors[name] = draw.choice(others)
    try:
        shown = trials.trial(factors).image
        if not names and draw.random() < 0.5:
            shown = _on_another_machine(shown, draw)
        file = case.folder / "previews" / f"{stem}.{draw.choice(FORMATS)}"
        Image.fromarray(shown).save(file)  # Pillow's defaults, as the trainer
        codec = Codec.of(file)
        measured = TrialRenderer(context, renderer, file, codec)
        for name in names:
            without = measured.trial({key: value for key, value in factors.items() if key != name})
            if name in ROUNDED and without.distance <= ROUNDED[name]:
                return None
            if name not in ROUNDED and Floor(measured).covers(without):
                return None
    except HarnessError:
        return None  # the values exclude each other
    return Truth(saved(case, file, stem), factors)


def _on_another_machine(image: np.ndarray, draw: random.Random) -> np.ndarray:
    noise = np.random.default_rng(draw.randrange(2**32)).normal(0, ANOTHER_MACHINE, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def rendered_with(settings: Mapping[str, Value], case: Case, renderer: Renderer, name: str) -> Case:
    """Save ``case`` with a preview, the image file ``name``, that was rendered with ``settings``."""
    context = Context(case, request_of(case, RunOptions(), "cpu"), "cpu")
    file = case.folder / "previews" / name
    Image.fromarray(TrialRenderer(context, renderer).trial(settings).image).save(file)
    return saved(case, file, file.stem)


def saved(case: Case, file: Path, stem: str) -> Case:
    """Save ``case`` as ``stem`` with the image ``file`` for a preview."""
    height, width = load_rgb(file).shape[:2]
    preview = Preview(
        file=f"previews/{file.name}",
        sha256=sha256_file(file),
        width=width,
        height=height,
        step=case.preview.step,
        index=case.preview.index,
    )
    made = case.model_copy(update={"id": stem, "preview": preview})
    return load_case(_file(save_case(made, case.folder / f"{stem}.case.yaml")))


def _file(case: Case) -> Path:
    assert case._file is not None
    return case._file


def renders(case: Case, settings: Factors) -> Effective:
    """Return what ``settings`` on top of ``case`` really render: two answers of one render are one."""
    context = Context(case, request_of(case, RunOptions(), "cpu"), "cpu")
    request = context.request
    for name in AXES:
        if name in settings:
            request = AXES[name].apply(context, request, settings[name])
    return effective(request, "cpu")


def pair(first: str, second: str) -> tuple[str, ...]:
    """Return two axes in the order of the axes."""
    return tuple(sorted((first, second), key=list(AXES).index))

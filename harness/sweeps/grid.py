"""Which variants a sweep renders: from ``--axis``, from a grid file, or from a preset."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._util.strict_yaml import read_mapping
from harness.errors import HarnessError
from harness.pipeline.schedulers import SCHEDULERS
from harness.sweeps.axes import AXES, find_axis
from harness.sweeps.axis_values import Value, show, unknown

MAX_VARIANTS = 10_000
PRESETS = ("shift", "scheduler", "numerics", "all")


@dataclass(frozen=True)
class Variant:
    """Changed settings, in the order of the axes."""

    settings: tuple[tuple[str, Value], ...]

    @property
    def name(self) -> str:
        """The variant as rows and reports call it, e.g. ``shift=3,steps=20``."""
        return ",".join(f"{axis}={show(value)}" for axis, value in self.settings)

    @classmethod
    def of(cls, settings: Mapping[str, Value]) -> Variant:
        """Return the variant of ``settings``, whatever their order."""
        return cls(tuple((name, settings[name]) for name in AXES if name in settings))


def parse_axis(text: str) -> tuple[str, list[Value]]:
    """Return axis and values of ``NAME=V1,V2``.

    Raises:
        HarnessError: not of that form, an unknown axis or value, or no value.
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise HarnessError(f"{text!r} is not NAME=V1,V2", field="--axis", fix="e.g. --axis shift=1,3,7")
    return _values(name, [value.strip() for value in values.split(",") if value.strip()])


def product(axes: Sequence[tuple[str, list[Value]]]) -> list[Variant]:
    """Return every combination of the axes' values.

    Raises:
        HarnessError: no axis, an axis twice, or more than 10 000 variants.
    """
    if not axes:
        raise HarnessError("the grid is empty", field="grid", fix="give an axis with values")
    names = [name for name, _ in axes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HarnessError(f"{twice[0]} is given twice", field="axis", fix="list its values once")
    count = math.prod(len(values) for _, values in axes)
    if count > MAX_VARIANTS:
        raise HarnessError(
            f"{count} variants are more than {MAX_VARIANTS}", field="grid", fix="split the sweep"
        )
    return [
        Variant.of(dict(zip(names, values, strict=True)))
        for values in itertools.product(*(values for _, values in axes))
    ]


def read_grid(path: str | os.PathLike[str]) -> list[Variant]:
    """Read a grid file: ``axes:`` maps names to lists, and ``combine`` is ``product`` or ``single``.

    Raises:
        HarnessError: not readable, an unknown key, axis or value (with the nearest), or empty.
    """
    path = Path(path)
    data = read_mapping(path, HarnessError, fix="map axes to lists of values")
    try:
        return _of_mapping(data)
    except HarnessError as error:
        error.file = path
        raise


def _of_mapping(data: dict[Any, Any]) -> list[Variant]:
    keys, ways = ("axes", "combine"), ("product", "single")
    for key in data:
        if key not in keys:
            raise unknown(str(key), "unknown key", str(key), keys)
    combine = data.get("combine", "product")
    if combine not in ways:  # a list or mapping has no hash
        raise unknown("combine", f"unknown value {combine!r}", str(combine), ways)
    axes = data.get("axes")
    if not isinstance(axes, dict) or not axes:
        raise HarnessError("the grid is empty", field="axes", fix="map axes to lists of values")
    parsed = [_values(str(name), _texts(name, values)) for name, values in axes.items()]
    if combine == "product":
        return product(parsed)
    return [Variant.of({name: value}) for name, values in parsed for value in values]


def preset(name: str) -> list[Variant]:
    """Return the variants of a preset: ``shift``, ``scheduler``, ``numerics``, or ``all`` of them.

    A scheduler that cannot sample a flow is among them, so that a sweep can say why it was left out.

    Raises:
        HarnessError: no such preset; names the nearest one.
    """
    if name == "shift":
        static = [
            Variant.of({"dynamic_shifting": False, "shift": shift}) for shift in (1.0, 2.0, 3.0, 5.0, 7.0)
        ]
        return [Variant.of({"shift": 7.0}), *static, *_singles(_SHIFTS)]
    if name == "scheduler":
        return [Variant.of({"scheduler": each}) for each in SCHEDULERS]
    if name == "numerics":
        return _singles(_NUMERICS)
    if name == "all":
        return [variant for each in PRESETS[:-1] for variant in preset(each)]
    raise unknown("--preset", f"unknown preset {name!r}", name, PRESETS)


_SHIFTS: Mapping[str, tuple[Value, ...]] = {"base_shift": (0.3, 0.8), "max_shift": (0.8, 1.5)}
_NUMERICS: Mapping[str, tuple[Value, ...]] = {
    "quantize": ("qfloat8", "qfloat8-transformer", "qfloat8-te"),
    "dtype": ("bf16", "fp32"),
    "lora_mode": ("fused", "adapter", "fp32", "none"),
    "attention": ("native", "_native_math"),
    "max_sequence_length": (256, 512),
}


def _singles(axes: Mapping[str, tuple[Value, ...]]) -> list[Variant]:
    return [Variant.of({name: value}) for name, values in axes.items() for value in values]


def _values(name: str, texts: Sequence[str]) -> tuple[str, list[Value]]:
    axis = find_axis(name)
    if not texts:
        raise HarnessError("has no values", field=axis.name, fix=axis.explanation)
    return axis.name, list(dict.fromkeys(axis.parse(text) for text in texts))


def _texts(name: Any, values: Any) -> list[str]:
    if not isinstance(values, list):
        raise HarnessError(f"{values!r} is no list", field=str(name), fix="write [1, 3, 7]")
    for value in values:
        if not isinstance(value, str | int | float | bool):
            raise HarnessError(f"{value!r} is no value", field=str(name), fix="write numbers and names")
    return [show(value) for value in values]

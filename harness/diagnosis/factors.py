"""The single factors that may explain a preview: one changed setting each, a number with all its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from harness.diagnosis.trials import Settings, TrialRenderer
from harness.errors import HarnessError
from harness.pipeline.schedulers import find_scheduler
from harness.sweeps.axes import AXES, TYPED_SEEDS, USUAL_QUANTIZE
from harness.sweeps.axis import Axis, Family
from harness.sweeps.axis_values import Value, show

ROUNDING_AXES = ("t5_attention", "attention", "dtype", "quantize")
LORA_AXES = ("checkpoint", "network_multiplier", "lora_mode")


@dataclass(frozen=True)
class Factor:
    """One setting to change on top of a base.

    Attributes:
        axis: what changes.
        base: settings that are changed already.
        values: of a number the coarse values, without the base's own; of any other axis one value.
        own: the base's value of a number; None for any other axis.
    """

    axis: Axis
    base: Settings
    values: tuple[Value, ...]
    own: float | None = None

    def settings(self, value: Value) -> Settings:
        """Return the base's settings with ``value``; a static shift needs dynamic shifting off."""
        more = {"dynamic_shifting": False} if self.axis.name == "shift" else {}
        return {**self.base, self.axis.name: value, **more}

    @property
    def is_schedule(self) -> bool:
        """Whether a recorded trajectory alone gives an estimate."""
        return self.axis.family is Family.SCHEDULE or self.axis.name == "steps"

    @property
    def is_noise(self) -> bool:
        """Whether it draws other noise, at the start or on the way, so that no estimate applies."""
        if self.axis.name == "scheduler":
            return find_scheduler(str(self.values[0])).stochastic
        return self.axis.family is Family.NOISE

    @property
    def is_numeric(self) -> bool:
        """Whether it changes how numbers are rounded, and not what is asked for."""
        if self.axis.name == "lora_mode":
            return self.values[0] != "none"
        return self.axis.family is Family.NUMERICS and self.axis.name != "max_sequence_length"

    @property
    def name(self) -> str:
        """The factor as a report calls it."""
        return self.axis.name if self.own is not None else f"{self.axis.name} = {show(self.values[0])}"


def factors(
    trials: TrialRenderer, base: Settings, belongs: Callable[[Axis], bool] = lambda _: True
) -> list[Factor]:
    """Return every factor on top of ``base`` that renders something new; equal renders are listed once."""
    request = trials.request(base)
    context = replace(trials.context, request=request)
    seen = {trials.effective(base), trials.effective({})}
    found: list[Factor] = []
    for axis in AXES.values():
        if not belongs(axis) or axis.name in base:
            continue
        own = axis.read(context, request)
        number = None if axis.grid is None else float(own)
        fresh: list[Value] = []
        for value in axis.candidates(context):
            if axis.problem(context, value) is not None or value == own:
                continue
            settings = Factor(axis, base, (value,)).settings(value)
            try:
                key = trials.effective(settings)
            except HarnessError:
                continue  # the values exclude each other, or make no schedule
            if key not in seen:
                seen.add(key)
                fresh.append(value)
        if number is not None and fresh:
            found.append(Factor(axis, base, tuple(fresh), number))
        elif number is None:
            found += [Factor(axis, base, (value,)) for value in fresh]
    return found


def draw_noise(axes: Iterable[str]) -> bool:
    """Whether a change of one of the axes draws other noise."""
    return any(AXES[name].family is Family.NOISE for name in axes)


def is_usual(factor: Factor) -> bool:
    """Whether a factor is rendered though nothing points to it: most quantizers and far seeds are not."""
    if factor.axis.name == "seed":
        return factor.values[0] not in TYPED_SEEDS
    return factor.axis.name != "quantize" or factor.values[0] in USUAL_QUANTIZE


def by_kind(every: Iterable[Factor]) -> tuple[list[Factor], list[Factor], list[Factor]]:
    """Return the factors that change the noise, those that only compute otherwise, and the rest."""
    noise: list[Factor] = []
    numeric: list[Factor] = []
    rest: list[Factor] = []
    for factor in every:
        (noise if factor.is_noise else numeric if factor.is_numeric else rest).append(factor)
    return noise, numeric, rest


def left_out(trials: TrialRenderer) -> dict[str, str]:
    """Return the values that the case cannot take or that cannot run here, with the reason."""
    context = trials.context
    found: dict[tuple[str, str], list[str]] = {}
    for axis in AXES.values():
        for value in axis.candidates(context):
            if (problem := axis.problem(context, value)) is not None:
                found.setdefault((axis.name, problem), []).append(show(value))
    return {f"{name} = {', '.join(values)}": problem for (name, problem), values in found.items()}

"""Metrics of what a person sees, each by its own package, which the extra ``metrics`` installs.

| name | metric | equal |
|---|---|---|
| ``flip`` | FLIP (Andersson et al. 2020), mean | 0, up to 1 |
| ``ssimulacra2`` | SSIMULACRA2 (Sneyers 2023) | 100, no lower end |
| ``jod`` | ColorVideoVDP (Mantiuk et al. 2024), JOD | 10, down to 0 |

FLIP is seen from 0.7 m before a 4K display that is 0.7 m wide, ColorVideoVDP from 0.75 m before one of 30
inches.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from harness.metrics.flip import flip
from harness.metrics.images import Pixels
from harness.metrics.jod import jod
from harness.metrics.scores import MetricName, Perceptual
from harness.metrics.ssimulacra2 import ssimulacra2

INSTALL = "pip install 'flex2-harness[metrics]'"


@dataclass(frozen=True)
class Choice:
    """Metrics to measure, and in words why others that were asked for are not."""

    names: tuple[MetricName, ...] = ()
    absent: tuple[str, ...] = ()

    def start(self, a: Pixels, b: Pixels, executor: Executor) -> dict[MetricName, Future[float]]:
        """Begin to measure ``b`` against ``a``, both H×W×3, 0 to 255."""
        return {name: executor.submit(_METRICS[name].measure, a, b) for name in self.names}


def choose_metrics(names: Iterable[MetricName]) -> Choice:
    """Return which of the metrics can be measured: those whose package can be imported."""
    found: list[MetricName] = []
    absent = []
    for name in sorted(set(names)):
        metric = _METRICS[name]
        try:
            importlib.import_module(metric.module)
        except ImportError as error:
            absent.append(f"{metric.label} was not measured ({error}): {INSTALL}")
        else:
            found.append(name)
    return Choice(tuple(found), tuple(absent))


def measured(started: dict[MetricName, Future[float]]) -> Perceptual:
    """Wait for what ``Choice.start`` began."""
    return Perceptual(**{name: future.result() for name, future in started.items()})


@dataclass(frozen=True)
class _Metric:
    label: str
    module: str
    measure: Callable[[Pixels, Pixels], float]


_METRICS: dict[MetricName, _Metric] = {
    "flip": _Metric("FLIP", "flip_evaluator", flip),
    "ssimulacra2": _Metric("SSIMULACRA2", "ssimulacra2", ssimulacra2),
    "jod": _Metric("ColorVideoVDP", "pycvvdp", jod),
}

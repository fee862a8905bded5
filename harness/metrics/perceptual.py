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

import functools
import importlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.metrics.flip import flip
from harness.metrics.images import Pixels, check_pair
from harness.metrics.scores import MetricName, Perceptual
from harness.metrics.ssimulacra2 import ssimulacra2
from harness.metrics.threads import one_thread

if TYPE_CHECKING:
    from pycvvdp import cvvdp

DISPLAY = "standard_4k"
"""ColorVideoVDP's own default: 30 inches, 3840×2160, 200 cd/m², office light."""

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


def jod(a: Pixels, b: Pixels) -> float:
    """Return ColorVideoVDP's quality of ``b`` as a still image against ``a``, both H×W×3, 0 to 255.

    Returns:
        Just-objectionable differences: 10 is equal; at 9, three of four people prefer ``a``.

    Raises:
        ImportError: the package is not installed.
        ValueError: the shapes differ or are not H×W×3.
    """
    import torch

    check_pair(a, b)
    with one_thread(), torch.inference_mode():
        quality, _ = _cvvdp().predict(b, a, dim_order="HWC")
    return float(quality)


@functools.cache
def _cvvdp() -> cvvdp:
    import torch
    from pycvvdp import cvvdp

    return cvvdp(display_name=DISPLAY, device=torch.device("cpu"), quiet=True)


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

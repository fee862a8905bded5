"""LPIPS v0.1 with AlexNet (Zhang, Isola, Efros, Shechtman, Wang 2018), offline from the first minute."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness._util.atomic_files import sha256_file
from harness._util.mixed_up_files import why_no_file
from harness.data import LPIPS_WEIGHTS
from harness.errors import WeightsError
from harness.metrics.images import Pixels, check_pair
from harness.metrics.threads import one_thread

if TYPE_CHECKING:
    import torch

    from harness.metrics.lpips_network import Features, LpipsNetwork

SHIPPED_SHA256 = "3184da9c6fd1a785f42344e26a7a5e2edca2feef1ae878ff5ee9f8a5fe38d5ad"
KEPT = 3
"""Images whose layers are kept: a preview, its re-run, and the re-run after the codec."""

MIN_SIZE = 31
"""Smallest edge, pixels, that reaches the last layer of AlexNet's features."""


class Lpips:
    """The LPIPS network, loaded once; deterministic, fp32, no network access.

    Args:
        weights: safetensors of AlexNet's convolutions under torchvision's names (``features.N.weight|bias``);
            None takes the file that the package ships.
        device: where to compute.

    Raises:
        WeightsError: the file is missing, the shipped one was changed, or another has other keys or shapes.
    """

    def __init__(
        self, weights: str | os.PathLike[str] | None = None, device: torch.device | str = "cpu"
    ) -> None:
        import torch

        self.weights = LPIPS_WEIGHTS if weights is None else Path(weights)
        self.sha256 = _checked_hash(self.weights, SHIPPED_SHA256 if weights is None else None)
        self._device = torch.device(device)
        self._net = _network(self.weights).to(self._device)
        self._features: deque[tuple[Pixels, Features]] = deque(maxlen=KEPT)

    def prepare(self, images: Iterable[Pixels], executor: Executor) -> None:
        """Compute the layers of up to three H×W×3 images at once, for the comparisons that follow."""
        wanted: list[Pixels] = []
        for image in images:
            if not any(image is other or np.array_equal(image, other) for other in wanted):
                wanted.append(image)
        with one_thread():
            layers = list(executor.map(lambda image: self._find(image) or self._layers(image), wanted))
        self._features = deque(zip(wanted, layers, strict=True), maxlen=KEPT)

    def score(self, a: Pixels, b: Pixels) -> float:
        """Return the distance of two H×W×3 images, 0 to 255: 0 is equal, about 1 is unrelated.

        Raises:
            ValueError: the shapes differ, are not H×W×3, or an edge is under 31 pixels.
        """
        from harness.metrics.lpips_network import score_of

        with self._exact():
            return float(score_of(self._distances(a, b)).item())

    def map(self, a: Pixels, b: Pixels) -> NDArray[np.float32]:
        """Return the distance at every pixel, H×W, 0 and up, of two H×W×3 images, 0 to 255.

        Layers are upsampled bilinearly, so the map's mean is close to ``score`` but not equal to it.

        Raises:
            ValueError: as ``score``.
        """
        from harness.metrics.lpips_network import map_of

        with self._exact():
            height, width, _ = a.shape
            local: NDArray[np.float32] = map_of(self._distances(a, b), (height, width))[0, 0].cpu().numpy()
        return local

    @contextmanager
    def _exact(self) -> Iterator[None]:
        import torch

        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with exact, one_thread(), torch.inference_mode():
            yield

    def _distances(self, a: Pixels, b: Pixels) -> Features:
        check_pair(a, b)
        height, width = a.shape[:2]
        if min(height, width) < MIN_SIZE:
            raise ValueError(f"LPIPS needs at least {MIN_SIZE} pixels an edge, found {width}×{height}")
        return self._net.distances(self._layers_of(a), self._layers_of(b))

    def _layers_of(self, image: Pixels) -> Features:
        """Return the layers of an image; each of a pair is compared several times, a preview with many."""
        found = self._find(image)
        if found is None:
            found = self._layers(image)
            self._features.append((image, found))
        return found

    def _find(self, image: Pixels) -> Features | None:
        for entry in tuple(self._features):
            if entry[0] is image or np.array_equal(entry[0], image):
                return entry[1]
        return None

    def _layers(self, image: Pixels) -> Features:
        """Return the layers of one H×W×3 image, computed on one thread."""
        import torch

        with torch.inference_mode():
            tensor = torch.from_numpy(image.copy()).to(self._device)
            return self._net.layers_of(tensor.permute(2, 0, 1)[None].float() / 127.5 - 1)


def _checked_hash(path: Path, expected: str | None) -> str:
    if not path.is_file():
        fix = "give the path of the AlexNet layers as safetensors"
        raise WeightsError(why_no_file(path), file=path, fix=fix)
    found = sha256_file(path)
    if expected is not None and found != expected:
        differs = f"hashes to {found[:12]}…, not {expected[:12]}…"
        raise WeightsError(differs, file=path, fix="install the package again")
    return found


def _network(path: Path) -> LpipsNetwork:
    """Build LPIPS, with AlexNet's five convolutions from ``path``."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from harness.metrics.lpips_network import LpipsNetwork

    net = LpipsNetwork()
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"is not a readable safetensors file ({error})", file=path) from error
    target = {f"features.{name}": parameter for name, parameter in net.features.named_parameters()}
    for key in sorted(target.keys() | state.keys()):
        _check_entry(path, key, target.get(key), state.get(key))
    with torch.no_grad():
        for key, parameter in target.items():
            parameter.copy_(state[key])
    return net.eval().requires_grad_(False)


def _check_entry(path: Path, key: str, wanted: torch.Tensor | None, given: torch.Tensor | None) -> None:
    if wanted is None or given is None:
        found = "is missing" if given is None else "is not one of AlexNet's convolutions"
        raise WeightsError(found, file=path, field=key, fix="the file must hold features.{0,3,6,8,10}")
    if wanted.shape != given.shape:
        raise WeightsError(f"has shape {list(given.shape)}, not {list(wanted.shape)}", file=path, field=key)
    if not given.is_floating_point() or not bool(given.isfinite().all()):
        raise WeightsError("holds values that are not finite numbers", file=path, field=key)

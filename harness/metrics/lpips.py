"""LPIPS v0.1 with AlexNet (Zhang, Isola, Efros, Shechtman, Wang 2018), offline from the first minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness._util.atomic_files import sha256_file
from harness.data import LPIPS_WEIGHTS
from harness.errors import WeightsError
from harness.metrics.images import Pixels, check_pair
from harness.metrics.threads import one_thread

if TYPE_CHECKING:
    import torch
    from lpips import LPIPS

SHIPPED_SHA256 = "3184da9c6fd1a785f42344e26a7a5e2edca2feef1ae878ff5ee9f8a5fe38d5ad"
Features = tuple["torch.Tensor", ...]
"""Outputs of AlexNet's five layers."""

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

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        import torch

        self.weights = weights or LPIPS_WEIGHTS
        self.sha256 = _checked_hash(self.weights, SHIPPED_SHA256 if weights is None else None)
        self._device = torch.device(device)
        self._net = _network(self.weights).to(self._device)
        self._net.net.forward = _FeatureCache(self._net.net.forward)

    def score(self, a: Pixels, b: Pixels) -> float:
        """Return the distance of two H×W×3 images, 0 to 255: 0 is equal, about 1 is unrelated.

        Raises:
            ValueError: the shapes differ, are not H×W×3, or an edge is under 31 pixels.
        """
        return float(self._compare(a, b, spatial=False).item())

    def map(self, a: Pixels, b: Pixels) -> NDArray[np.float32]:
        """Return the distance at every pixel, H×W, 0 and up, of two H×W×3 images, 0 to 255.

        Layers are upsampled bilinearly, so the map's mean is close to ``score`` but not equal to it.

        Raises:
            ValueError: as ``score``.
        """
        local: NDArray[np.float32] = self._compare(a, b, spatial=True)[0, 0].cpu().numpy()
        return local

    def _compare(self, a: Pixels, b: Pixels, *, spatial: bool) -> torch.Tensor:
        import torch

        check_pair(a, b)
        height, width = a.shape[:2]
        if min(height, width) < MIN_SIZE:
            raise ValueError(f"LPIPS needs at least {MIN_SIZE} pixels an edge, found {width}×{height}")
        self._net.spatial = spatial
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with exact, one_thread(), torch.inference_mode():
            distance: torch.Tensor = self._net(self._tensor(a), self._tensor(b))
        return distance

    def _tensor(self, array: Pixels) -> torch.Tensor:
        """Return 1×3×H×W, -1 to 1, fp32."""
        import torch

        return torch.from_numpy(array.copy()).to(self._device).permute(2, 0, 1)[None].float() / 127.5 - 1


class _FeatureCache:
    """Features of the last images: each of a pair is compared several times, a preview with every variant.

    Args:
        features: 1×3×H×W to the layers' outputs.
    """

    def __init__(self, features: Callable[[torch.Tensor], Features]) -> None:
        self._features = features
        self._entries: deque[tuple[torch.Tensor, Features]] = deque(maxlen=3)

    def __call__(self, image: torch.Tensor) -> Features:
        """Return the features of ``image``, computed at most once while it is among the last three."""
        for entry in self._entries:
            if entry[0].shape == image.shape and bool((entry[0] == image).all()):
                self._entries = deque((one for one in self._entries if one is not entry), maxlen=3)
                break
        else:
            entry = (image, self._features(image))
        self._entries.append(entry)
        return entry[1]


def _checked_hash(path: Path, expected: str | None) -> str:
    if not path.is_file():
        fix = "give the path of the AlexNet layers as safetensors"
        raise WeightsError("does not exist", file=path, fix=fix)
    found = sha256_file(path)
    if expected is not None and found != expected:
        differs = f"hashes to {found[:12]}…, not {expected[:12]}…"
        raise WeightsError(differs, file=path, fix="install the package again")
    return found


def _network(path: Path) -> LPIPS:
    """Build LPIPS without weights of AlexNet, then load its five convolutions from ``path``."""
    import warnings

    import lpips
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # lpips asks torchvision in a spelling that it deprecates; the random weights are replaced below.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"is not a readable safetensors file ({error})", file=path) from error
    target = _convolutions(net)
    for key in sorted(target.keys() | state.keys()):
        _check_entry(path, key, target.get(key), state.get(key))
    with torch.no_grad():
        for key, parameter in target.items():
            parameter.copy_(state[key])
    return net.eval().requires_grad_(False)


def _convolutions(net: LPIPS) -> dict[str, torch.Tensor]:
    """Return AlexNet's parameters inside ``net`` under torchvision's names; slices keep its layer numbers."""
    slices = (net.net.slice1, net.net.slice2, net.net.slice3, net.net.slice4, net.net.slice5)
    return {f"features.{name}": parameter for part in slices for name, parameter in part.named_parameters()}


def _check_entry(path: Path, key: str, wanted: torch.Tensor | None, given: torch.Tensor | None) -> None:
    if wanted is None or given is None:
        found = "is missing" if given is None else "is not one of AlexNet's convolutions"
        raise WeightsError(found, file=path, field=key, fix="the file must hold features.{0,3,6,8,10}")
    if wanted.shape != given.shape:
        raise WeightsError(f"has shape {list(given.shape)}, not {list(wanted.shape)}", file=path, field=key)
    if not given.is_floating_point() or not bool(given.isfinite().all()):
        raise WeightsError("holds values that are not finite numbers", file=path, field=key)

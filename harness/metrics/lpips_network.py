"""LPIPS on AlexNet's convolutions, operation by operation as the package ``lpips`` 0.1.4 computes it.

The package is not imported: it loads every model of torchvision, and with them torch's compiler, for seconds.
Its file of trained heads is read where it is installed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import WeightsError

Features = tuple[Tensor, ...]
"""Outputs of AlexNet's five layers."""

HEADS = Path("weights", "v0.1", "alex.pth")
EPSILON = 1e-10

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class LpipsNetwork(nn.Module):
    """AlexNet's convolutions under torchvision's names, and LPIPS' five heads; the convolutions are empty."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.features = _convolutions()
        self.heads = nn.ParameterList(_heads())
        self.register_buffer("shift", torch.tensor(_SHIFT)[None, :, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[None, :, None, None])

    def layers_of(self, image: Tensor) -> Features:
        """Return the outputs of the five layers, normalized, for 1×3×H×W, -1 to 1."""
        hidden = (image - self.shift) / self.scale
        found = []
        for layer in self.features:
            hidden = layer(hidden)
            if isinstance(layer, nn.ReLU):
                found.append(hidden)
        return tuple(_normalized(layer) for layer in found)

    def distances(self, a: Features, b: Features) -> Features:
        """Return the distance at every place of every layer, 1×1×h×w each."""
        pairs = zip(a, b, self.heads, strict=True)
        return tuple(functional.conv2d((one - other) ** 2, head) for one, other, head in pairs)


def score_of(distances: Features) -> Tensor:
    """Return the sum of the layers' means, 1×1×1×1."""
    means = [layer.mean([2, 3], keepdim=True) for layer in distances]
    return sum(means[1:], 0 + means[0])


def map_of(distances: Features, size: tuple[int, int]) -> Tensor:
    """Return the sum of the layers, each upsampled bilinearly to ``size``; 1×1×H×W."""
    maps = [
        functional.interpolate(layer, size=size, mode="bilinear", align_corners=False) for layer in distances
    ]
    return sum(maps[1:], 0 + maps[0])


def _normalized(layer: Tensor) -> Tensor:
    length = torch.sqrt(torch.sum(layer**2, dim=1, keepdim=True))
    return layer / (length + EPSILON)


def _convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def _heads() -> list[Tensor]:
    """Return the weights of the five heads, 1×C×1×1, from the installed package's file."""
    spec = importlib.util.find_spec("lpips")
    folders = (spec.submodule_search_locations if spec is not None else None) or []
    file = next((Path(folder, HEADS) for folder in folders if Path(folder, HEADS).is_file()), None)
    if file is None:
        raise WeightsError(f"the package lpips has no {HEADS}", fix="pip install --force-reinstall lpips")
    state = torch.load(file, map_location="cpu", weights_only=True)
    return [state[f"lin{index}.model.1.weight"] for index in range(5)]

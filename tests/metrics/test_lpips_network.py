"""Our network against the package's own: same score, same map."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from harness.metrics.lpips import Lpips
from harness.metrics.lpips_network import map_of, score_of

SIZE = (64, 80)


def test_score_and_map_are_those_of_the_package() -> None:
    import lpips

    net = Lpips()._net
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    slices = (
        package.net.slice1,
        package.net.slice2,
        package.net.slice3,
        package.net.slice4,
        package.net.slice5,
    )
    with torch.no_grad():
        for part in slices:
            for name, parameter in part.named_parameters():
                parameter.copy_(dict(net.features.named_parameters())[name])
        draw = torch.Generator().manual_seed(0)
        a, b = (torch.rand(1, 3, *SIZE, generator=draw) * 2 - 1 for _ in range(2))
        found = net.distances(net.layers_of(a), net.layers_of(b))
        package.spatial = False
        assert np.isclose(score_of(found).item(), package(a, b).item(), rtol=0, atol=1e-6)
        package.spatial = True
        assert torch.allclose(map_of(found, SIZE), package(a, b), rtol=0, atol=1e-6)

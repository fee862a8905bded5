from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from harness.errors import WeightsError
from harness.metrics import lpips as perceptual
from harness.metrics.lpips import LPIPS_WEIGHTS, SHIPPED_SHA256, Lpips


def test_equals_the_papers_formula_on_torchvisions_alexnet(lpips, picture):
    """LPIPS by hand: torchvision's feature stack with the shipped layers, and the lpips package's heads."""
    a, b = picture(), picture(seed=1)
    expected = sum(float(layer.mean()) for layer in _by_hand(a, b))
    assert lpips.score(a, b) == pytest.approx(expected, rel=1e-5)
    assert expected > 0.1


def test_map_equals_the_upsampled_layers(lpips, picture):
    a, b = picture(), picture(seed=1)
    size = a.shape[:2]
    layers = [
        F.interpolate(layer, size=size, mode="bilinear", align_corners=False) for layer in _by_hand(a, b)
    ]
    local = lpips.map(a, b)
    assert local.shape == size
    assert local == pytest.approx(sum(layers)[0, 0].numpy(), rel=1e-4, abs=1e-6)


def test_equal_images_are_at_zero(lpips, picture):
    assert lpips.score(picture(), picture()) == 0
    assert not lpips.map(picture(), picture()).any()


def test_order_does_not_matter_and_repeats_agree(lpips, picture):
    a, b = picture(), picture(seed=1)
    assert lpips.score(a, b) == lpips.score(b, a) == Lpips().score(a, b)
    lpips.map(a, b)
    assert lpips.score(a, b) == lpips.score(a, b)


def test_grows_with_the_noise(lpips, picture):
    noise = np.random.default_rng(3).normal(size=picture().shape)
    noisy = [np.clip(picture() + level * noise, 0, 255).astype(np.uint8) for level in (2, 6, 15, 40)]
    scores = [lpips.score(picture(), image) for image in noisy]
    assert scores == sorted(scores)
    assert scores[0] > 0


def test_the_map_shows_the_place(lpips, picture):
    changed = picture(128, 128).copy()
    changed[80:112, 16:48] = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    y, x = np.unravel_index(lpips.map(picture(128, 128), changed).argmax(), (128, 128))
    assert 80 <= y < 112
    assert 16 <= x < 48


def test_leaves_the_global_generator_alone(picture):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    Lpips().score(picture(), picture(seed=1))
    assert torch.equal(torch.rand(3), expected)


def test_smallest_size(lpips):
    small = np.zeros((31, 31, 3), np.uint8)
    assert lpips.score(small, small) == 0
    with pytest.raises(ValueError, match="at least 31 pixels"):
        lpips.score(small[1:], small[1:])


def test_sizes_that_differ_are_refused(lpips, picture):
    with pytest.raises(ValueError, match="one size"):
        lpips.score(picture(), picture(height=64))


def test_a_copy_given_by_path_scores_the_same(tmp_path, lpips, picture):
    path = tmp_path / "copy.safetensors"
    path.write_bytes(LPIPS_WEIGHTS.read_bytes())
    other = Lpips(path)
    assert other.sha256 == SHIPPED_SHA256
    assert other.score(picture(), picture(seed=1)) == lpips.score(picture(), picture(seed=1))


def test_other_weights_are_used(tmp_path, lpips, picture):
    state = load_file(LPIPS_WEIGHTS)
    state["features.0.weight"] = state["features.0.weight"] * 2
    save_file(state, tmp_path / "other.safetensors")
    assert Lpips(tmp_path / "other.safetensors").score(picture(), picture(seed=1)) != lpips.score(
        picture(), picture(seed=1)
    )


def test_a_changed_shipped_file_is_refused(tmp_path, monkeypatch):
    changed = bytearray(LPIPS_WEIGHTS.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "shipped.safetensors").write_bytes(changed)
    monkeypatch.setattr(perceptual, "LPIPS_WEIGHTS", tmp_path / "shipped.safetensors")
    with pytest.raises(WeightsError, match="not 3184da9c6fd1…; install the package again"):
        Lpips()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.6.bias"), "features.6.bias: is missing"),
        (
            lambda state: state.update({"classifier.1.bias": torch.zeros(3)}),
            "classifier.1.bias: is not one of",
        ),
        (
            lambda state: state.update({"features.0.bias": torch.zeros(63)}),
            r"features.0.bias: has shape \[63\], not \[64\]",
        ),
        (
            lambda state: state.update({"features.0.bias": torch.full([64], torch.nan)}),
            "features.0.bias: holds values that are not finite",
        ),
    ],
)
def test_other_keys_or_shapes_are_refused(tmp_path, change, message):
    state = load_file(LPIPS_WEIGHTS)
    change(state)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=message):
        Lpips(tmp_path / "other.safetensors")


def test_missing_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        Lpips(tmp_path / "gone.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        Lpips(tmp_path / "bad.safetensors")


def _by_hand(a, b):
    """Each layer's weighted squared distance, 1×1×h×w."""
    from torchvision.models import alexnet

    stack = alexnet(weights=None).features
    stack.load_state_dict(
        {key.removeprefix("features."): value for key, value in load_file(LPIPS_WEIGHTS).items()}
    )
    with resources.as_file(resources.files("lpips") / "weights/v0.1/alex.pth") as path:
        heads = torch.load(path, map_location="cpu", weights_only=True)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def features(image):
        hidden = ((torch.from_numpy(image).float() / 255 - mean) / deviation).permute(2, 0, 1)[None]
        kept = []
        for layer in stack:
            hidden = layer(hidden)
            if isinstance(layer, torch.nn.ReLU):
                kept.append(hidden)
        return [layer / (layer.norm(dim=1, keepdim=True) + 1e-10) for layer in kept]

    with torch.inference_mode():
        pairs = zip(features(a), features(b), strict=True)
        return [
            F.conv2d((one - other) ** 2, heads[f"lin{index}.model.1.weight"])
            for index, (one, other) in enumerate(pairs)
        ]

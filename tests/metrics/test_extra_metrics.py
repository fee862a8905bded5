"""FLIP, SSIMULACRA2 and ColorVideoVDP: measured where they are asked for, named where they are absent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.metrics.flip import _processes, flip
from harness.metrics.images import Pixels, save_png
from harness.metrics.jod import DISPLAY, jod
from harness.metrics.perceptual import choose_metrics
from harness.metrics.score_pair import score_images, score_pair
from harness.metrics.scores import METRIC_NAMES, Scores

for package in ("flip_evaluator", "pycvvdp", "ssimulacra2"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def image() -> Pixels:
    rising = np.linspace(0, 255, 96)
    return np.stack([np.add.outer(rising, rising) / 2] * 3, axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def changed(image: Pixels) -> Pixels:
    noise = np.random.default_rng(0).integers(-12, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_each_is_at_its_best_for_equal_images_and_worse_for_others(lpips, image, changed) -> None:
    metrics = choose_metrics(METRIC_NAMES)
    assert metrics.absent == ()
    same, other = (score_images(image, each, lpips, metrics) for each in (image, changed))
    assert (same.flip, same.ssimulacra2, same.jod) == (0, 100, 10)
    assert 0.02 < other.flip < 0.5
    assert 0 < other.ssimulacra2 < 90
    assert 5 < other.jod < 9.9


def test_flip_is_seen_from_67_pixels_a_degree(image, changed) -> None:
    """Its own default: 0.7 m before a display 0.7 m wide, of 3840 pixels."""
    from flip_evaluator import evaluate

    levels = [each / np.float32(255) for each in (image, changed)]
    for parameters in ({}, {"vc": [0.7, 3840, 0.7]}):
        expected = evaluate(*levels, "LDR", applyMagma=False, parameters=parameters)[1]
        assert flip(image, changed) == pytest.approx(expected, rel=1e-6)


def test_flip_of_a_large_pair_has_a_process_of_its_own_and_the_same_bits(image, changed, monkeypatch) -> None:
    alone = flip(image, changed)
    monkeypatch.setattr("harness.metrics.flip.LARGE", 0)
    with monkeypatch.context() as only_there:
        only_there.setattr("harness.metrics.flip._mean", None)
        assert [flip(image, changed), flip(image, image)] == [alone, 0]
    _processes[os.getpid()].kill()
    assert flip(image, changed) == alone
    assert not _processes


def test_jod_has_the_same_bits_on_any_number_of_threads(image, changed) -> None:
    threads = torch.get_num_threads()
    try:
        found = set()
        for count in (1, 2):
            torch.set_num_threads(count)
            found.add(jod(image, changed))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


def test_jod_is_that_of_the_package_with_its_own_blur(image, changed) -> None:
    from pycvvdp import cvvdp

    quality, _ = cvvdp(display_name=DISPLAY, device=torch.device("cpu"), quiet=True).predict(
        changed, image, dim_order="HWC"
    )
    assert jod(image, changed) == pytest.approx(float(quality), abs=1e-4)


def test_only_the_codec_matched_pair_is_measured(lpips, image, changed, tmp_path: Path) -> None:
    preview = tmp_path / "preview.jpg"
    Image.fromarray(image).save(preview)
    pair = score_pair(preview, changed, lpips, choose_metrics(["flip"]))
    assert pair.matched.flip is not None
    assert pair.raw.flip is pair.codec_floor.flip is pair.matched.jod is None


def test_what_was_not_measured_is_not_written(lpips, image, changed) -> None:
    plain = score_images(image, changed, lpips)
    assert set(plain.model_dump()) == {"ssim", "lpips", "psnr", "pixels"}
    more = score_images(image, changed, lpips, choose_metrics(["flip"]))
    assert Scores.model_validate_json(more.model_dump_json()) == more
    assert set(more.model_dump()) == {*plain.model_dump(), "flip"}


def test_an_absent_package_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    found = choose_metrics(METRIC_NAMES)
    assert found.names == ("flip", "ssimulacra2")
    (why,) = found.absent
    assert why.startswith("ColorVideoVDP was not measured (")
    assert why.endswith("): pip install 'flex2-harness[metrics]'")


def test_a_png_is_written_fast_and_without_loss(changed: Pixels, tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", changed)
    with Image.open(tmp_path / "a.png") as read:
        assert np.array_equal(np.array(read), changed)

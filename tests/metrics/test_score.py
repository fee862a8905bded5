from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from harness.errors import ImageError
from harness.metrics.images import load_rgb
from harness.metrics.lpips import Lpips
from harness.metrics.maps import ANCHORS, SCALES
from harness.metrics.score_pair import score_images, score_pair


def test_the_same_picture_in_jpeg_matches_and_its_raw_distance_is_the_codec_floor(tmp_path, picture, lpips):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path)
    pair = score_pair(path, picture(), lpips)
    assert pair.matched.pixels.identical
    assert (pair.matched.ssim, pair.matched.lpips, pair.matched.psnr) == (1, 0, None)
    assert pair.raw == pair.codec_floor
    assert pair.raw.ssim < 0.99
    assert np.array_equal(pair.matched_image, load_rgb(path))
    assert pair.maps.keys() == SCALES.keys()
    for image in pair.maps.values():
        assert image.shape == picture().shape
        assert (image == ANCHORS[0]).all()


def test_matching_the_codec_takes_the_codecs_part_away(tmp_path, picture, lpips):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path)
    rerun = picture().copy()
    rerun[20:30, 20:30] ^= 8
    pair = score_pair(path, rerun, lpips)
    assert pair.raw.ssim < pair.matched.ssim < 1
    assert pair.matched.pixels.changed < 0.2 < pair.raw.pixels.changed
    assert pair.matched == score_images(load_rgb(path), pair.matched_image, lpips)
    assert pair.raw == score_images(load_rgb(path), rerun, lpips)
    assert pair.codec_floor == score_images(pair.matched_image, rerun, lpips)


@pytest.mark.parametrize("options", [{"format": "PNG"}, {"format": "WEBP", "lossless": True}])
def test_a_lossless_preview_has_no_codec_floor(tmp_path, picture, lpips, options):
    path = tmp_path / "a"
    Image.fromarray(picture()).save(path, **options)
    pair = score_pair(path, picture(seed=1), lpips)
    assert pair.raw == pair.matched
    assert pair.codec_floor.pixels.identical
    assert pair.matched.ssim < 0.5
    assert np.array_equal(pair.matched_image, picture(seed=1))


def test_sizes_that_differ_are_never_resized(tmp_path, picture, lpips):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    with pytest.raises(ValueError, match="one size"):
        score_pair(path, picture(height=64), lpips)


def test_a_preview_that_cannot_be_read(tmp_path, picture, lpips):
    with pytest.raises(ImageError, match="does not exist"):
        score_pair(tmp_path / "gone.jpg", picture(), lpips)


def test_every_image_goes_through_the_network_once(tmp_path, picture, monkeypatch):
    seen, lpips = [], Lpips()
    lpips.score(picture(seed=8), picture(seed=9))
    layers_of = lpips._net.layers_of
    monkeypatch.setattr(lpips._net, "layers_of", lambda image: seen.append(1) or layers_of(image))
    shown, first, second = picture(), picture(seed=1), picture(seed=2)
    Image.fromarray(shown).save(tmp_path / "preview.jpg")
    path = tmp_path / "preview.jpg"
    pairs = [score_pair(path, rerun, lpips) for rerun in (first, second)]
    assert len(seen) == 3 + 2  # the preview is known by then
    for rerun, pair in zip((first, second), pairs, strict=True):
        fresh = score_pair(path, rerun, Lpips())
        assert (pair.matched, pair.raw, pair.codec_floor) == (fresh.matched, fresh.raw, fresh.codec_floor)
        assert np.array_equal(pair.maps["lpips"], fresh.maps["lpips"])

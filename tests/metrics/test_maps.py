from __future__ import annotations

import numpy as np
import pytest

from harness.metrics import maps
from harness.metrics.maps import ANCHORS, DIFFERENCE, LPIPS, SSIM, Scale, difference_map


def lightness(colours):
    """CIE L* of sRGB colours, 0 to 100."""
    linear = np.asarray(colours) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_lightness_rises_all_the_way_and_evenly():
    ramp = Scale("", 0, 255).paint(np.arange(256)[None])[0]
    steps = np.diff(lightness(ramp)[::15])
    assert steps.min() > 0
    assert steps.max() < 3 * steps.mean()
    assert lightness(ramp[-1]) - lightness(ramp[0]) > 90


def test_order_survives_without_red_or_green():
    """Protanopes and deuteranopes see red and green alike: order must read from either alone."""
    ramp = Scale("", 0, 255).paint(np.arange(256)[None])[0].astype(int)
    assert (np.diff(ramp[:, 0]) >= 0).all()
    assert (np.diff(ramp[:, 1]) >= 0).all()


@pytest.mark.parametrize("scale", [DIFFERENCE, SSIM, LPIPS])
def test_a_scale_is_fixed_at_both_ends(scale):
    beyond = scale.bright + (scale.bright - scale.dark)
    before = scale.dark - (scale.bright - scale.dark)
    painted = scale.paint(np.array([[before, scale.dark, scale.bright, beyond]], dtype=np.float64))[0]
    assert painted.tolist() == [list(ANCHORS[0])] * 2 + [list(ANCHORS[-1])] * 2


def test_one_value_is_one_colour_whatever_else_is_in_the_image():
    alone = LPIPS.paint(np.array([[0.3]]))[0, 0]
    beside = LPIPS.paint(np.array([[0.3, 0.9]]))[0, 0]
    assert alone.tolist() == beside.tolist()


def test_difference_map_takes_the_largest_channel():
    a = np.full((2, 2, 3), 250, np.uint8)
    b = a.copy()
    b[0, 1] = (250, 230, 218)
    painted = difference_map(a, b)
    assert painted.shape == (2, 2, 3)
    assert painted[0, 1].tolist() == DIFFERENCE.paint(np.array([[32]]))[0, 0].tolist()
    assert painted[1, 1].tolist() == list(ANCHORS[0])


def test_not_a_number_is_not_drawn():
    with pytest.raises(ValueError, match="cannot be drawn"):
        SSIM.paint(np.array([[np.nan]]))


def test_every_scale_has_a_name():
    assert maps.SCALES == {"difference": DIFFERENCE, "ssim": SSIM, "lpips": LPIPS}

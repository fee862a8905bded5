from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ImageError
from harness.metrics.latents import Latents, encode_latents, latent_distance, read_latents


def latents(seed: int = 0, tokens: int = 64) -> Latents:
    return np.random.default_rng(seed).standard_normal((tokens, 64)).astype(np.float16)


def test_equal_opposite_scaled_and_unrelated() -> None:
    one = latents()
    same, opposite, twice = (latent_distance(each, one) for each in (one, -one, 2 * one))
    assert same is not None
    assert opposite is not None
    assert twice is not None
    assert (same.cosine, same.relative_l2) == (pytest.approx(1), 0)
    assert (opposite.cosine, opposite.relative_l2) == (pytest.approx(-1), pytest.approx(2))
    assert (twice.cosine, twice.relative_l2) == (pytest.approx(1), pytest.approx(1))
    other = latent_distance(latents(1), one)
    assert other is not None
    assert abs(other.cosine) < 0.1
    assert other.relative_l2 == pytest.approx(2**0.5, abs=0.05)


def test_what_cannot_be_compared_has_no_distance() -> None:
    one = latents()
    assert latent_distance(one, latents(tokens=16)) is None
    assert latent_distance(one, np.zeros_like(one)) is None
    assert latent_distance(np.full_like(one, np.nan), one) is None


def test_a_file_gives_back_the_same_latents_and_the_same_latents_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "a.latents.npy.zz"
    file.write_bytes(encode_latents(latents()))
    assert np.array_equal(read_latents(file), latents())
    assert encode_latents(read_latents(file)) == file.read_bytes()


def _packed(array: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array), allow_pickle=True)
    return zlib.compress(stream.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        encode_latents(latents())[:-20],
        zlib.compress(b"no array"),
        zlib.compress(bytes(80 << 20)),
        _packed(np.zeros((4, 64), np.float32)),
        _packed(np.zeros(4, np.float16)),
        _packed(np.array([{"a": 1}], dtype=object)),
    ],
    ids=["empty", "other", "cut", "text", "bomb", "fp32", "flat", "pickle"],
)
def test_a_damaged_or_hostile_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.latents.npy.zz"
    file.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        read_latents(file)
    assert "\n" not in str(caught.value)

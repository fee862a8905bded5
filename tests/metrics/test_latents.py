from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ImageError
from harness.metrics.latents import BUCKETS, Latents, encode_latents, latent_distance, read_latents, sketch

FULL_SIZE = 4096
"""Tokens of a 1024² image."""


def latents(seed: int = 0, tokens: int = 64) -> Latents:
    return np.random.default_rng(seed).standard_normal((tokens, 64)).astype(np.float16)


def test_equal_opposite_and_scaled() -> None:
    one = latents()
    same, opposite, twice = (latent_distance(sketch(each), sketch(one)) for each in (one, -one, 2 * one))
    assert same is not None
    assert opposite is not None
    assert twice is not None
    assert (same.cosine, same.relative_l2) == (1, 0)
    assert (opposite.cosine, opposite.relative_l2) == (pytest.approx(-1, abs=0.2), pytest.approx(2, rel=0.1))
    assert (twice.cosine, twice.relative_l2) == (pytest.approx(1, abs=0.1), pytest.approx(1, rel=0.1))


@pytest.mark.parametrize("size", [0.001, 0.04, 0.5, 1.4])
def test_the_distance_is_the_whole_latents_to_a_tenth(size: float) -> None:
    """2.2 % in the middle; a change of a thousandth is measured as well as one of the whole."""
    one, errors = latents(tokens=FULL_SIZE), []
    for seed in range(1, 6):
        change = np.float32(size) * latents(seed, FULL_SIZE)
        other = (one + change).astype(np.float16)
        exact = other.astype(np.float64), one.astype(np.float64)
        far = np.linalg.norm(exact[0] - exact[1]) / np.linalg.norm(exact[1])
        cosine = (exact[0] * exact[1]).sum() / np.linalg.norm(exact[0]) / np.linalg.norm(exact[1])
        found = latent_distance(sketch(other), sketch(one))
        assert found is not None
        assert found.relative_l2 == pytest.approx(far, rel=0.1)
        assert 1 - found.cosine == pytest.approx(1 - cosine, rel=0.2, abs=1e-6)
        errors.append(found.relative_l2 / far - 1)
    assert np.abs(errors).mean() < 0.04


def test_what_cannot_be_compared_has_no_distance() -> None:
    one = sketch(latents())
    assert latent_distance(one, sketch(latents(tokens=16))) is None
    assert latent_distance(one, sketch(np.zeros((64, 64), np.float16))) is None
    assert latent_distance(sketch(np.full((64, 64), np.nan, np.float16)), one) is None


def test_a_file_takes_4_kb_and_the_same_latents_make_the_same_one(tmp_path: Path) -> None:
    file = tmp_path / "a.latents.npy.zz"
    file.write_bytes(encode_latents(latents(tokens=FULL_SIZE)))
    assert 3000 < file.stat().st_size < 4400
    read, made = read_latents(file), sketch(latents(tokens=FULL_SIZE))
    assert (read.shape, read.length) == (made.shape, made.length)
    assert np.array_equal(read.sums, made.sums)
    known = hashlib.sha256(sketch(np.arange(4096, dtype=np.float16).reshape(64, 64)).sums).hexdigest()
    assert known[:12] == "8c361d35fd5d", "other buckets or signs: sketches of older runs cannot be compared"


def test_an_older_file_of_all_latents_is_still_read(tmp_path: Path) -> None:
    file = tmp_path / "a.latents.npy.zz"
    file.write_bytes(_packed(latents()))
    distance = latent_distance(read_latents(file), sketch(latents()))
    assert distance is not None
    assert (distance.cosine, distance.relative_l2) == (1, 0)


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
        _packed(np.full(3 + BUCKETS, np.nan, np.float32)),
        _packed(np.array([{"a": 1}], dtype=object)),
    ],
    ids=["empty", "other", "cut", "text", "bomb", "fp32", "flat", "nan", "pickle"],
)
def test_a_damaged_or_hostile_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.latents.npy.zz"
    file.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        read_latents(file)
    assert "\n" not in str(caught.value)

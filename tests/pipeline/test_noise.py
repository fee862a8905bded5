from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.pipeline.noise import draw, torch_era
from harness.schema.versions import behaviour, era_of_software

DATA = Path(__file__).parent.parent / "data" / "noise" / "legacy.json"
RECORDED: list[dict[str, Any]] = json.loads(DATA.read_text())["cases"]
HALF = (torch.bfloat16, torch.float16)


def recorded(*dtypes: str) -> list[Any]:
    return [
        pytest.param(case, id="-".join([case["dtype"], str(case["seed"]), "x".join(map(str, case["shape"]))]))
        for case in RECORDED
        if case["dtype"] in dtypes
    ]


@pytest.mark.parametrize("case", recorded("bfloat16", "float16"))
def test_legacy_noise_is_what_the_old_torch_drew_bit_for_bit(case: dict[str, Any]) -> None:
    noise = draw(case["shape"], case["seed"], getattr(torch, case["dtype"]), "legacy")
    assert list(noise.shape) == case["shape"]
    bits = noise.view(torch.int16).flatten()
    assert bits[:48].tolist() == case["first"]
    assert bits[-48:].tolist() == case["last"]
    assert hashlib.sha256(bits.numpy().tobytes()).hexdigest() == case["sha256"]


@pytest.mark.parametrize("case", recorded("float32"))
def test_fp32_noise_is_the_same_in_both_eras(case: dict[str, Any]) -> None:
    legacy = draw(case["shape"], case["seed"], torch.float32, "legacy")
    assert torch.equal(legacy, draw(case["shape"], case["seed"], torch.float32, "current"))
    first = torch.tensor(case["first"], dtype=torch.int32).view(torch.float32)
    torch.testing.assert_close(legacy.flatten()[:48], first, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 31, 33, 240, 4096])
@pytest.mark.parametrize("seed", [0, 42, 2**63 - 1])
def test_this_torch_draws_the_noise_of_its_era(dtype: torch.dtype, size: int, seed: int) -> None:
    native = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    assert torch.equal(draw((size,), seed, dtype, torch_era()), native)


def test_a_draw_that_was_changed_in_place_is_drawn_again() -> None:
    first = draw((1, 16, 8, 8), 7, torch.bfloat16, "legacy")
    kept = first.clone()
    first.zero_()
    assert torch.equal(draw((1, 16, 8, 8), 7, torch.bfloat16, "legacy"), kept)


@pytest.mark.parametrize("dtype", HALF)
def test_the_eras_are_uncorrelated_standard_normals(dtype: torch.dtype) -> None:
    both = torch.stack(
        [draw((1, 16, 64, 64), 42, dtype, era).float().flatten() for era in ("legacy", "current")]
    )
    assert abs(torch.corrcoef(both)[0, 1]) < 0.02
    torch.testing.assert_close(both.mean(1), torch.zeros(2), atol=0.02, rtol=0)
    torch.testing.assert_close(both.std(1), torch.ones(2), atol=0.02, rtol=0)


@given(blocks=st.integers(1, 40), more=st.integers(1, 40), seed=st.integers(0, 2**64 - 1))
def test_a_longer_draw_begins_with_the_shorter_one(blocks: int, more: int, seed: int) -> None:
    for dtype in HALF:
        short = draw((16 * blocks,), seed, dtype, "legacy")
        assert torch.equal(draw((16 * (blocks + more),), seed, dtype, "legacy")[: 16 * blocks], short)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    draw((1, 16, 8, 8), 42, torch.bfloat16, "legacy")
    draw((1, 16, 8, 8), 42, torch.bfloat16, "current")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_installed_torch_is_of_the_era_its_version_says() -> None:
    assert torch_era() == behaviour("noise", torch.__version__)


@pytest.mark.parametrize(
    ("version", "era"),
    [
        ("1.13.1", "legacy"), ("2.9.1+cu128", "legacy"), ("2.11.0", "legacy"),
        ("2.12.0", "current"), ("2.14.1", "current"), ("3.0.0a0+git1", "current"),
    ],
)  # fmt: skip
def test_era_of_version(version: str, era: str) -> None:
    assert behaviour("noise", version) == era


@pytest.mark.parametrize(
    ("software", "era"),
    [
        ("ai-toolkit 0.7.21", "legacy"), ("ai-toolkit 0.11.1", "legacy"), ("ai-toolkit 0.11.2", None),
        ("ai-toolkit 0.12.0", "current"), ("ai-toolkit 0.12.26", "current"), ("ai-toolkit 0.1.9", None),
        ("kohya 0.7.21", None), ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_era_of_software(software: str | None, era: str | None) -> None:
    assert era_of_software(software) == era

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.importers.aitoolkit.sample_config import SampleConfig
from harness.importers.aitoolkit.samples import Sample, resolve_samples, sample_seeds
from harness.schema.case_parts import SampleSettings
from harness.schema.spec import FLEX2, trainer_edge

seeds = st.integers(-(2**31), 2**63)


def resolve(trigger_word: str | None = None, **sample: Any) -> list[Sample]:
    return resolve_samples(SampleConfig.model_validate(sample), trigger_word)


@given(seeds, st.booleans(), st.lists(st.none() | seeds, max_size=8))
def test_seed_rule(seed: int, walk_seed: bool, own: list[int | None]) -> None:
    found = sample_seeds(seed, walk_seed, own)
    assert len(found) == len(own)
    for index, value in enumerate(found):
        so_far = [override for override in own[: index + 1] if override is not None]
        if own[index] is not None:
            assert value == own[index]
        elif walk_seed:
            assert value == seed + index
        else:
            assert value == (so_far[-1] if so_far else seed)


@pytest.mark.parametrize("seed", [42, "42", 42.0])
def test_a_seed_is_read_as_torch_reads_it(seed: object) -> None:
    first, second = resolve(seed=seed, samples=[{"prompt": "a"}, {"prompt": "b", "seed": seed}])
    assert (first.settings.seed, second.settings.seed) == (42, 42)


def test_a_seed_flag_does_not_leak() -> None:
    samples = resolve(seed=5, samples=[{"prompt": "a --seed 9"}, {"prompt": "b"}, {"prompt": "c", "seed": 3}])
    assert [sample.settings.seed for sample in samples] == [9, 5, 3]


def test_a_seed_flag_wins_over_a_leaked_seed_and_says_nothing_of_it() -> None:
    samples = resolve(samples=[{"prompt": "a", "seed": 3}, {"prompt": "b --d 9"}, {"prompt": "c"}])
    assert [sample.settings.seed for sample in samples] == [3, 9, 3]
    assert [bool(sample.assumptions) for sample in samples] == [False, False, True]


@given(st.integers(-100, 10_000))
def test_size_rule(pixels: int) -> None:
    kept = trainer_edge(pixels)
    assert kept % 8 == 0
    assert kept >= 64
    if pixels >= 64:
        assert 0 <= pixels - kept < 8
    else:
        assert kept == 64


@given(st.integers(64, 4096), st.integers(64, 4096))
def test_image_size_is_the_largest_multiple_of_16_that_fits(width: int, height: int) -> None:
    for found, asked in zip(FLEX2.preview_size(width, height), (width, height), strict=True):
        assert found % 16 == 0
        assert found <= asked < found + 16


def test_size_by_example() -> None:
    (sample,) = resolve(prompts=["a --w 203 --h 136"])
    assert (sample.settings.width, sample.settings.height) == (200, 136)
    assert FLEX2.preview_size(sample.settings.width, sample.settings.height) == (192, 128)


def test_defaults_are_the_trainers_not_the_references() -> None:
    (sample,) = resolve(prompts=["a"])
    assert sample.settings == SampleSettings(
        prompt="a", neg="", width=512, height=512, seed=0, sample_steps=20, guidance_scale=7.0
    )
    assert sample.network_multiplier == 1.0


def test_samples_win_over_prompts() -> None:
    assert [s.settings.prompt for s in resolve(prompts=["x", "y"], samples=[{"prompt": "a"}])] == ["a"]


def test_an_entry_inherits_overrides_and_yields_to_flags() -> None:
    shared = {"width": 128, "height": 256, "guidance_scale": 4, "sample_steps": 14, "network_multiplier": 0.7}
    entry = {"prompt": "a --cfg 3 --n dull", "height": 96, "sample_steps": 9, "network_multiplier": "0.5"}
    (sample,) = resolve(**shared, neg=False, samples=[entry])
    assert sample.settings == SampleSettings(
        prompt="a", neg="dull", width=128, height=96, seed=0, sample_steps=9, guidance_scale=3.0
    )
    assert sample.network_multiplier == 0.5


def test_trigger_and_name_become_the_trigger_word() -> None:
    (sample,) = resolve("sks", prompts=["[trigger] and [name]"])
    assert sample.settings.prompt == "sks and sks"
    assert sample.template == "[trigger] and [name]"
    (literal,) = resolve(None, prompts=["a [trigger]"])
    assert literal.settings.prompt == "a [trigger]"
    assert "no trigger_word" in literal.assumptions[0]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"prompt": "a", "seed": -1}, "seed is -1"),
        ({"prompt": f"a --seed {-(2**63) - 1}"}, "its seed -9223372036854775809 is outside what torch takes"),
        ({"prompt": "a", "ctrl_img": "pose.png"}, "control image (pose.png)"),
        ({"prompt": "a --ctrl_img pose.png"}, "control image (pose.png)"),
        ({"prompt": "a", "width": 5000}, "width 5000 is outside"),
        ({"prompt": "a", "sample_steps": 151}, "sample_steps 151 is outside"),
        ({"prompt": "a --cfg 21"}, "guidance_scale 21.0 is outside"),
        ({"prompt": "a --cfg nan"}, "its guidance_scale is nan, which is not a finite number"),
        ({"prompt": "a", "guidance_scale": float("nan")}, "its guidance_scale is nan"),
        ({"prompt": "a --cfg -1e999"}, "its guidance_scale is -inf"),
        ({"prompt": "a --m inf"}, "its network_multiplier is inf"),
        ({"prompt": "a", "network_multiplier": "nan"}, "its network_multiplier is nan"),
        ({"prompt": f"a --seed {2**64}"}, "its seed 18446744073709551616 is outside what torch takes"),
        ({"prompt": "a --m -2.5"}, "network_multiplier -2.5 is outside"),
    ],
)
def test_what_cannot_be_rerun_says_why(entry: dict[str, Any], reason: str) -> None:
    bad, good = resolve(seed=1, samples=[entry, {"prompt": "b", "seed": 1}])
    assert reason in str(bad.problem)
    assert good.problem is None


@pytest.mark.parametrize(
    ("entry", "seed"),
    [
        ({"prompt": "a --seed -1"}, 2**64 - 1),
        ({"prompt": "a --d -3"}, 2**64 - 3),
        ({"prompt": "a", "seed": -7}, 2**64 - 7),
        ({"prompt": "a --seed -1 --d 5"}, 5),
        ({"prompt": "a --seed 5", "seed": -1}, 5),
        ({"prompt": f"a --seed {-(2**63)}"}, 2**63),
        ({"prompt": f"a --seed {2**64 - 1}"}, 2**64 - 1),
    ],
)
def test_negative_seeds_are_those_that_torch_makes_of_them(entry: dict[str, Any], seed: int) -> None:
    (sample,) = resolve(samples=[entry])
    assert (sample.settings.seed, sample.problem) == (seed, None)


@pytest.mark.parametrize("entry", [{"prompt": "a", "num_frames": 33}, {"prompt": "a --frames 2"}])
def test_frames_make_no_video_of_an_image_model(entry: dict[str, Any]) -> None:
    assert resolve(samples=[entry])[0].problem is None


def test_random_seed_with_walk_seed_spoils_only_the_first() -> None:
    assert [bool(sample.problem) for sample in resolve(seed=-1, walk_seed=True, prompts=["a", "b"])] == [
        True,
        False,
    ]


def test_an_entry_without_a_prompt_shifts_the_prompts_after_it() -> None:
    entries = [{"prompt": "a", "seed": 1}, {"seed": 2, "width": 96}, {"prompt": "c", "seed": 3, "width": 64}]
    first, second = resolve(samples=entries)
    assert (first.settings.prompt, first.settings.seed, first.settings.width) == ("a", 1, 512)
    assert (second.settings.prompt, second.settings.seed, second.settings.width) == ("c", 2, 96)
    assert (first.problem, second.problem) == (None, None)
    assert first.assumptions == ()
    assert [line[:35] for line in second.assumptions] == ["entry 1 of samples has no prompt: f"]


def test_numbered_control_images_have_no_effect_and_are_named() -> None:
    entry = {"prompt": "a", "ctrl_img_1": "one.png", "ctrl_img_3": "three.png"}
    (sample,) = resolve(samples=[entry])
    assert sample.problem is None
    assert [line.split()[0] for line in sample.assumptions] == ["ctrl_img_1", "ctrl_img_3"]

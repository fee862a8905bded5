"""6,000 random sample sections in 18 shapes of real configs: the importer's settings are the trainer's."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness.errors import JobError
from harness.importers.aitoolkit.config import ConfigFile
from harness.importers.aitoolkit.job_samples import JobSamples
from harness.schema.spec import FLEX2
from tests.importers.trainer_rules import TrainerFailsError, images_of

SECTIONS = 6000
SHAPES = list(
    product(("sd_trainer", "ui_trainer", "diffusion_trainer"), ("prompts", "samples"), (None, "", "sks"))
)
"""Process type, how prompts are written, trigger word: the ways in which published configs differ."""

WORDS = (
    "a cat",
    "[trigger] on a sofa",
    "photo of [name]",
    "ein Hund",
    "猫 在 沙发",
    "night -- grain",
    "",
    "  two  ",
)
NUMBERS = (-3, -1, 0, 1, 7, 42, 99, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1)
EDGES = (1, 63, 64, 65, 96, 100, 128, 200, 512, 767, 1024, 4096, 4100, 512.0, 100.5)
FLAGS = (
    *(
        "--w 96",
        "--h 200",
        "--w 71",
        "--d 5",
        "--seed 7",
        "--seed -1",
        "--d -3",
        "--l 3",
        "--cfg 2.5",
        "--cfg 1e1",
    ),
    *(
        "--s 12",
        "--steps 30",
        "--m 0.5",
        "--m -1",
        "--network_multiplier .25",
        "--n bad hands",
        "--p2 x",
        "--fps 12",
    ),
    *(
        "--frames 3",
        "--W 32",
        "--seed=5",
        "--unknown thing",
        "--",
        "--ctrl_img a.png",
        "--ctrl_idx 1",
        "--gr 0.2",
    ),
    *(
        "--s 25.0",
        "--w",
        "--seed x",
        "--m",
        "--seed  8",
        "--cfg\t4",
        "--steps 10 --steps 20",
        "--d +4",
        "--w 1_00",
    ),
)


def settings(rng: random.Random, chance: float) -> dict[str, Any]:
    """Return a random choice of the settings that a section and its entries share."""
    choices: dict[str, tuple[Any, ...]] = {
        "width": EDGES,
        "height": EDGES,
        "seed": NUMBERS,
        "guidance_scale": (1, 3.5, 4, 7.0, 20),
        "sample_steps": (1, 8, 25, 150),
        "network_multiplier": (1, 0.5, -2, 1.0),
        "neg": ("", "blurry", False),
    }
    return {name: rng.choice(values) for name, values in choices.items() if rng.random() < chance}


def prompt(rng: random.Random) -> str:
    flags = rng.sample(FLAGS, rng.choice((0, 0, 0, 1, 1, 2)))
    return " ".join((rng.choice(WORDS), *flags))


def section(rng: random.Random, form: str) -> dict[str, Any]:
    made = settings(rng, 0.6) | ({"walk_seed": rng.random() < 0.5} if rng.random() < 0.7 else {})
    count = rng.randint(1, 5)
    if form == "prompts":
        return made | {"prompts": [prompt(rng) if rng.random() < 0.97 else None for _ in range(count)]}
    entries = []
    for _ in range(count):
        entry = settings(rng, 0.25) | ({"prompt": prompt(rng)} if rng.random() < 0.95 else {})
        entries.append(entry | ({"ctrl_img": "b.png"} if rng.random() < 0.05 else {}))
    return made | {"samples": entries}


def config(shape: tuple[str, str, str | None], sample: dict[str, Any]) -> ConfigFile:
    kind, _, trigger = shape
    process = {
        "type": kind,
        "trigger_word": trigger,
        "sample": {"sampler": "flowmatch", "sample_every": 250, **sample},
        "model": {"name_or_path": "ostris/Flex.2-preview", "arch": "flex2"},
    }
    return ConfigFile.model_validate({"config": {"name": "job", "process": [process]}})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_settings_are_the_trainers(shape: tuple[str, str, str | None]) -> None:
    rng = random.Random(str(shape))
    compared = 0
    for _ in range(-(-SECTIONS // len(SHAPES))):
        sample = section(rng, shape[1])
        process = config(shape, sample).config.process[0]
        try:
            expected = images_of(sample, shape[2])
        except TrainerFailsError:
            with pytest.raises(JobError, match="the trainer fails on it too"):
                JobSamples(Path("config.yaml"), process)
            continue
        if not expected:
            continue
        found = JobSamples(Path("config.yaml"), process).of("sample", "ai-toolkit 0.12.26")
        assert len(found) == len(expected), sample
        for ours, theirs in zip(found, expected, strict=True):
            check(ours, theirs, sample)
            compared += 1
    assert compared > 400


def check(ours: Any, theirs: dict[str, Any], sample: dict[str, Any]) -> None:
    got = ours.settings.model_dump() | {"network_multiplier": ours.network_multiplier}
    want = {name: theirs[name] for name in got}
    want["neg"] = want["neg"] or ""
    if theirs["random"] or theirs.get("overflow"):
        want["seed"] = -1
        assert "its seed" in ours.problem, sample
    elif theirs["ctrl_img"]:
        assert f"control image ({theirs['ctrl_img']})" in ours.problem, sample
    else:
        assert (ours.problem is None) == within_limits(theirs), sample
    assert got == want, sample


def within_limits(image: dict[str, Any]) -> bool:
    limits = FLEX2.limits
    names = {
        "width": limits.size,
        "height": limits.size,
        "sample_steps": limits.sample_steps,
        "guidance_scale": limits.guidance_scale,
        "network_multiplier": limits.network_multiplier,
    }
    return all(low <= image[name] <= high for name, (low, high) in names.items())

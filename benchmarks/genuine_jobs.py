"""Genuine job folders with something recorded altered, and what a diagnosis has to name.

python benchmarks/diagnosis.py --kinds genuine --jobs 2
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
JOBS = {
    "inkprint": ROOT / "harness" / "data" / "jobs" / "emoji_inkprint",
    "simple": ROOT / "tests" / "data" / "jobs" / "tiny_flex2_simple_v1",
    "q8": ROOT / "tests" / "data" / "jobs" / "tiny_flex2_q8",
    "legacy": ROOT / "tests" / "data" / "jobs" / "legacy_jpg_q8",
}
Process = dict[str, Any]
Edit = Callable[[Process, Path], None]


@dataclass(frozen=True)
class Alteration:
    """A job, one of its previews, what is done to a copy of the folder, and what the answer has to be.

    Attributes:
        case: step and index of the preview.
        causes: settings that the answer has to name, by axis; none where the re-run matches.
    """

    name: str
    job: str
    case: str
    edit: Edit
    causes: dict[str, Any] = field(default_factory=dict)

    def make(self, folder: Path) -> Path:
        """Copy the job to ``folder`` and alter it there."""
        source = JOBS[self.job]
        copy = folder / source.name
        shutil.copytree(source, copy)
        config = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))
        self.edit(config["config"]["process"][0], copy)
        (copy / "config.yaml").write_text(yaml.dump(config), encoding="utf-8")
        return copy


def sample(**values: Any) -> Edit:
    """Return an edit of the job's sample section."""
    return lambda process, _folder: process["sample"].update(values)


def part(section: str, **values: Any) -> Edit:
    """Return an edit of another section."""
    return lambda process, _folder: process[section].update(values)


def without_flag(flag: str) -> Edit:
    """Return an edit that drops a flag and its value from every prompt."""

    def edit(process: Process, _folder: Path) -> None:
        prompts = []
        for prompt in process["sample"]["prompts"]:
            words = prompt.split()
            if flag in words:
                place = words.index(flag)
                del words[place : place + 2]
            prompts.append(" ".join(words))
        process["sample"]["prompts"] = prompts

    return edit


def without_trigger(process: Process, _folder: Path) -> None:
    """Drop the trigger word: the prompts keep a literal [trigger]."""
    process.pop("trigger_word")


def swapped(one: str, other: str) -> Edit:
    """Return an edit that swaps two checkpoints' names."""

    def edit(_process: Process, folder: Path) -> None:
        a, b = folder / one, folder / other
        kept = a.rename(folder / "swapping.safetensors")
        b.rename(a)
        kept.rename(b)

    return edit


def both(*edits: Edit) -> Edit:
    """Return several edits as one."""

    def edit(process: Process, folder: Path) -> None:
        for each in edits:
            each(process, folder)

    return edit


def unaltered(_process: Process, _folder: Path) -> None:
    """Change nothing."""


def alterations() -> Iterator[Alteration]:
    """Yield every alteration of the jobs in this repository."""
    for case, value in (("200_1", 3.0), ("300_0", 7.0), ("100_3", 3.5), ("200_0", 5.0), ("300_1", 2.5)):
        edit = sample(guidance_scale=value)
        yield Alteration(f"guidance {value:g}", "inkprint", case, edit, {"guidance_scale": 4.0})
    for case, count in (("200_1", 12), ("300_3", 20), ("100_0", 30), ("200_3", 16)):
        yield Alteration(f"steps {count}", "inkprint", case, sample(sample_steps=count), {"steps": 25})
    for case, seed in (("200_1", 43), ("300_0", 40), ("100_3", 0), ("200_0", 45)):
        yield Alteration(f"seed {seed}", "inkprint", case, sample(seed=seed), {"seed": 42})
    for case in ("200_1", "300_3"):
        yield Alteration("walk_seed on", "inkprint", case, sample(walk_seed=True), {"seed": 42})
    for case, scale in (("200_1", 0.8), ("300_0", 0.5), ("100_3", 1.2)):
        edit, causes = sample(network_multiplier=scale), {"network_multiplier": 1.0}
        yield Alteration(f"multiplier {scale:g}", "inkprint", case, edit, causes)
    for flag, causes in (
        ("--cfg", {"guidance_scale": 3.0}),
        ("--steps", {"steps": 20}),
        ("--seed", {"seed": 7}),
    ):
        for case in ("200_2", "300_2"):
            yield Alteration(f"{flag} lost", "inkprint", case, without_flag(flag), causes)
    yield Alteration("dtype fp32", "inkprint", "200_1", part("train", dtype="fp32"), {"dtype": "bf16"})
    for case in ("200_0", "300_1"):
        yield Alteration("trigger lost", "inkprint", case, without_trigger, {"trigger": "inkprint"})
    names = ("emoji_inkprint_000000100.safetensors", "emoji_inkprint_000000200.safetensors")
    for case in ("200_1", "100_0"):
        yield Alteration("checkpoints swapped", "inkprint", case, swapped(*names))
    for case in ("200_0", "300_3", "100_2", "300_2"):
        yield Alteration("nothing altered", "inkprint", case, unaltered)
    two = both(sample(guidance_scale=3.0), sample(network_multiplier=0.8))
    causes = {"guidance_scale": 4.0, "network_multiplier": 1.0}
    yield Alteration("guidance and multiplier", "inkprint", "200_1", two, causes)
    two = both(sample(seed=43), sample(sample_steps=12))
    yield Alteration("seed and steps", "inkprint", "300_0", two, {"seed": 42, "steps": 25})
    two = both(without_trigger, sample(guidance_scale=3.0))
    causes = {"trigger": "inkprint", "guidance_scale": 4.0}
    yield Alteration("trigger and guidance", "inkprint", "200_0", two, causes)
    yield from _older_jobs()


def _older_jobs() -> Iterator[Alteration]:
    """Yield alterations of the jobs that were made on random weights."""
    for case in ("10_0", "20_1"):
        yield Alteration("nothing altered", "simple", case, unaltered)
    quantized = {"quantize": "qfloat8"}
    for case in ("20_0", "30_1"):
        yield Alteration("quantize not set in the case", "q8", case, unaltered, quantized)
    for case in ("10_0", "20_1"):
        yield Alteration("era and quantize", "legacy", case, unaltered, {"noise": "legacy", **quantized})
    lost = part("model", quantize=False, quantize_te=False)
    yield Alteration("quantize flags lost", "q8", "20_0", lost, quantized)
    lost = part("model", quantize=False, quantize_te=False)
    yield Alteration("era, and quantize flags lost", "legacy", "20_0", lost, {"noise": "legacy", **quantized})
    yield Alteration("dtype fp32", "simple", "20_0", part("train", dtype="fp32"), {"dtype": "bf16"})

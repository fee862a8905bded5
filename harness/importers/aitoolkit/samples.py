"""From the ``sample`` section of a job to the settings that each preview was rendered with.

Source: ``ostris/ai-toolkit``, ``BaseSDTrainProcess.sample`` and ``GenerateImageConfig``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.importers.aitoolkit.sample_config import SampleConfig, SampleEntry
from harness.schema.case_parts import SampleSettings
from harness.schema.spec import Defaults, Limits, trainer_edge
from harness.schema.trainer_prompt import ParsedPrompt, inject_trigger, parse_prompt
from harness.schema.trainer_versions import LITERAL_TRIGGER

_DEFAULTS, _LIMITS = Defaults(), Limits()
RANDOM_SEED, MIN_SEED, SEED_END = -1, -(2**63), 2**64
INHERITED = ("width", "height", "neg", "guidance_scale", "sample_steps", "network_multiplier")
"""Fields of an entry of ``samples`` whose default is the value in ``sample``."""


@dataclass(frozen=True)
class Sample:
    """One sample of a job, resolved.

    Attributes:
        template: the prompt as the config writes it, before trigger and flags.
        problem: why its previews cannot be re-run, or None.
        assumptions: what a reader should know about how the settings came about.
    """

    settings: SampleSettings
    network_multiplier: float
    template: str
    problem: str | None = None
    assumptions: tuple[str, ...] = ()


def sample_seeds(seed: int, walk_seed: bool, own: Sequence[int | None]) -> list[int]:
    """Return the seed of each sample, before ``--seed`` flags.

    ``walk_seed`` adds the position. A sample's own seed replaces that; without ``walk_seed`` it also applies
    to the samples after it, because the trainer keeps one running variable.

    Args:
        seed: ``sample.seed``.
        own: each sample's own ``seed``, None where it has none.
    """
    seeds, current = [], seed
    for index, override in enumerate(own):
        if walk_seed:
            current = seed + index
        if override is not None:
            current = override
        seeds.append(current)
    return seeds


def torch_seed(seed: int, *, random: bool) -> tuple[int, str | None]:
    """Return the seed that ``torch.manual_seed`` makes of ``seed``, and why it cannot be drawn again, if so.

    Args:
        random: -1 stands for a random seed. The trainer looks for it before it reads a prompt's flags.
    """
    if seed == RANDOM_SEED and random:
        return RANDOM_SEED, "its seed is -1: the trainer drew a random one and did not record it"
    if not MIN_SEED <= seed < SEED_END:
        found = f"its seed {seed} is outside what torch takes, {MIN_SEED} to {SEED_END - 1}"
        return RANDOM_SEED, found
    return seed + SEED_END if seed < 0 else seed, None


def resolve_samples(
    config: SampleConfig, trigger_word: str | None, *, software: str | None = None, literal: bool = False
) -> list[Sample]:
    """Work out the settings of every sample in the order of the previews' numbers.

    Args:
        trigger_word: what ``[trigger]`` stands for; None leaves it as it is.
        software: trainer and version, as its LoRA files record it.
        literal: the trainer encoded the prompts with ``[trigger]`` as it is.

    Raises:
        ValueError: a prompt flag has a value that the trainer fails on; the message starts with the position.
    """
    entries = config.entries(software)
    prompts = [entry.prompt for entry in entries if entry.prompt is not None]
    seeds = sample_seeds(config.seed, config.walk_seed, [entry.seed for entry in entries[: len(prompts)]])
    samples = []
    for index, prompt in enumerate(prompts):
        try:
            parsed = parse_prompt(prompt if literal else inject_trigger(prompt, trigger_word))
        except ValueError as error:
            raise ValueError(f"prompt {index}: {error}") from None
        values = _inherited(config, entries[index]) | parsed.fields
        given = int(parsed.fields.get("seed", seeds[index]))
        values["seed"], problem = torch_seed(given, random="seed" not in parsed.fields)
        notes = _position_notes(index, config, entries, parsed)
        if given < 0 and problem is None:
            notes.append(f"the seed {given} is not random here: torch takes it for {values['seed']}")
        notes += _notes(prompt, parsed, trigger_word, entries[index])
        if literal and ("[trigger]" in prompt or "[name]" in prompt):
            notes.append(f"{software}: {LITERAL_TRIGGER.what}")
        problem = problem or _problem(values, entries[index])
        samples.append(_sample(values, parsed.prompt, prompt, problem, notes))
    return samples


def with_prompts_of(regular: Sequence[Sample], first: Sequence[Sample]) -> list[Sample]:
    """Return the samples of ``first_sample`` with the prompts of ``sample``, position by position.

    A trainer that caches text embeddings encodes the prompts of ``sample`` alone, and renders both with them.
    """
    if not regular:
        return list(first)
    note = "text embeddings were cached, so the trainer rendered first_sample with the prompts of sample"
    return [
        replace(
            own,
            settings=own.settings.model_copy(update={"prompt": other.settings.prompt}),
            template=other.template,
            assumptions=(*own.assumptions, note),
        )
        for own, other in zip(first, regular, strict=False)
    ]


def with_note(sample: Sample, note: str, *, where: str) -> Sample:
    """Return ``sample`` with ``note`` if its template holds ``where``."""
    return replace(sample, assumptions=(*sample.assumptions, note)) if where in sample.template else sample


def _inherited(config: SampleConfig, entry: SampleEntry) -> dict[str, Any]:
    return {
        name: getattr(config, name) if getattr(entry, name) is None else getattr(entry, name)
        for name in INHERITED
    }


def _sample(
    values: dict[str, Any], prompt: str, template: str, problem: str | None, notes: list[str]
) -> Sample:
    settings = SampleSettings(
        prompt=prompt,
        neg=values["neg"],
        width=trainer_edge(values["width"]),
        height=trainer_edge(values["height"]),
        seed=values["seed"],
        sample_steps=values["sample_steps"],
        guidance_scale=_finite(values["guidance_scale"], _DEFAULTS.guidance_scale),
    )
    multiplier = _finite(values["network_multiplier"], _DEFAULTS.network_multiplier)
    return Sample(
        settings, multiplier, template, problem or outside_limits(settings, multiplier), tuple(notes)
    )


def _finite(value: float, instead: float) -> float:
    """Return ``value`` if a case file can hold it, else ``instead``; ``_problem`` names the original."""
    return float(value) if math.isfinite(value) else instead


def _problem(values: dict[str, Any], entry: SampleEntry) -> str | None:
    for name in ("guidance_scale", "network_multiplier"):
        if not math.isfinite(values[name]):
            return f"its {name} is {values[name]}, which is not a finite number"
    if image := values.get("ctrl_img") or entry.ctrl_img:
        return f"it was rendered with a control image ({image}); the reference has none"
    return None


def outside_limits(settings: SampleSettings, network_multiplier: float) -> str | None:
    """Return which setting the reference's request schema refuses, or None."""
    if problem := settings.outside(_LIMITS):
        return f"{problem[0]} {problem[1]}"
    low, high = _LIMITS.network_multiplier
    if not low <= network_multiplier <= high:
        return f"network_multiplier {network_multiplier} is outside the reference's range {low} to {high}"
    return None


def _leaked_from(index: int, config: SampleConfig, entries: Sequence[SampleEntry]) -> int | None:
    """Return the position of the sample whose own seed still applies at ``index``, or None."""
    if config.walk_seed or entries[index].seed is not None:
        return None
    return next((i for i in range(index - 1, -1, -1) if entries[i].seed is not None), None)


def _position_notes(
    index: int, config: SampleConfig, entries: Sequence[SampleEntry], parsed: ParsedPrompt
) -> list[str]:
    """Return what a sample takes from other entries: the trainer counts prompts and entries separately."""
    notes = []
    leaked = _leaked_from(index, config, entries)
    if leaked is not None and "seed" not in parsed.fields:
        notes.append(
            f"the seed is that of sample {leaked}: without walk_seed it applies to those after it too"
        )
    gap = next((i for i, entry in enumerate(entries) if entry.prompt is None), None)
    if gap is not None and index >= gap:
        notes.append(
            f"entry {gap} of samples has no prompt: from there on the trainer gave each prompt the settings "
            "of an entry before its own, and so does the re-run"
        )
    return notes


def _notes(prompt: str, parsed: ParsedPrompt, trigger_word: str | None, entry: SampleEntry) -> list[str]:
    notes = [
        f"{name} had no effect: AI Toolkit reads only ctrl_img"
        for name in ("ctrl_img_1", "ctrl_img_2", "ctrl_img_3")
        if getattr(entry, name)
    ]
    if parsed.dropped:
        dropped = ", ".join(repr(f"--{text}") for text in parsed.dropped)
        notes.append(f"the trainer dropped {dropped}: after the first '--' only known flags count")
    if trigger_word is None and ("[trigger]" in prompt or "[name]" in prompt):
        notes.append("the job has no trigger_word: the placeholder stays in the prompt as it is")
    return notes

"""Turn an AI Toolkit job folder into case files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness._util.redaction import redact
from harness.data import CHECKPOINTS
from harness.errors import JobError
from harness.importers.aitoolkit.config import JobConfig, Process, SampleConfig
from harness.importers.aitoolkit.config_file import ARCH, CONFIG_FILE, PROCESS, load_config
from harness.importers.aitoolkit.job_folder import (
    PreviewFile,
    find_checkpoints,
    find_previews,
    preview_size,
    select_steps,
)
from harness.importers.aitoolkit.lora_pairing import Weights, WeightsFinder
from harness.importers.aitoolkit.samples import Sample, resolve_samples, with_prompts_of
from harness.importers.draft import Draft, ImportResult, safe_name
from harness.importers.writer import write_cases
from harness.schema.case import Base, SampleSettings, Trained
from harness.schema.spec import FLEX2


def import_job(job_dir: Path, *, out: Path, base: Base | None = None, steps: str = "all") -> ImportResult:
    """Import the previews of a Flex.2 training job as cases.

    Args:
        job_dir: the folder that holds ``config.yaml``, checkpoints and ``samples``.
        out: folder for the case files and copies of previews and LoRAs; a previous import of the
            same job is brought up to date.
        base: the base model; None takes ``model.name_or_path`` of the job.
        steps: ``all``, ``last``, or training steps like ``250,500``.

    Raises:
        JobError: the folder, its config or its prompts cannot be read, or ``out`` is in use.
        ImageError: a preview is unreadable or truncated.
        LoraError: a checkpoint that a preview needs is unsafe, broken or of another kind.
    """
    job_dir = Path(os.path.realpath(job_dir))
    config = load_config(job_dir)
    process = config.process[0]
    previews = find_previews(job_dir)
    samples = _resolve(job_dir, "sample", process.sample, process)
    first_samples = _resolve(job_dir, "first_sample", process.first_sample, process)
    if process.encodes_prompts_once:
        first_samples = with_prompts_of(samples, first_samples)
    job = _Job(
        config_file=job_dir / CONFIG_FILE,
        process=process,
        samples=samples,
        first_samples=first_samples,
        weights=WeightsFinder(find_checkpoints(job_dir, config.name), process),
    )
    if not job.samples and not job.first_samples:
        raise JobError("lists no samples", file=job.config_file, field=f"{PROCESS}.sample")
    base, assumptions = _base(job.config_file, config, base)
    drafts = [job.draft(preview) for preview in select_steps(previews, steps)]
    return write_cases(
        drafts,
        job=safe_name(config.name),
        base=base,
        out=out,
        previews={preview.path.name: preview.path for preview in previews},
        assumptions=[*assumptions, *job.assumptions(previews)],
    )


@dataclass(frozen=True)
class _Job:
    config_file: Path
    process: Process
    samples: list[Sample]
    first_samples: list[Sample]
    weights: WeightsFinder

    def draft(self, preview: PreviewFile) -> Draft:
        width, height, animated = preview_size(preview.path)
        sample = self._sample_of(preview)
        weights = self.weights.find(preview)
        problem = (
            self.process.not_in_reference()
            or sample.problem
            or ("it is an animated image, a video" if animated else None)
            or _size_problem(sample, (width, height))
        )
        return Draft(
            stem=self._stem(preview),
            preview=preview.path,
            image_size=(width, height),
            step=preview.step,
            index=preview.index,
            lora=weights.lora.path if weights.lora else None,
            network_multiplier=sample.network_multiplier,
            settings=sample.settings,
            trained=self._trained(sample, weights),
            note=weights.note,
            incomparable=problem or weights.problem,
            lora_gone=problem is None and weights.problem is not None,
            assumptions=self._case_assumptions(preview, sample, weights),
        )

    def assumptions(self, previews: list[PreviewFile]) -> list[str]:
        """Return what holds for every case."""
        lines = self.process.model.without_effect()
        network = self.process.network
        if network is not None and network.scaling_alpha != network.lora_rank:
            lines.append(
                f"network.linear_alpha is {network.scaling_alpha:g} at rank {network.lora_rank:g}, but AI "
                "Toolkit saves Flex.2 LoRAs without alpha: the scale is 1"
            )
        if line := _config_is_later(self.config_file, previews):
            lines.append(line)
        return lines

    def _is_first_sample(self, preview: PreviewFile) -> bool:
        """Say whether a preview of step 0 is of ``first_sample``; the regular ones follow unless skipped."""
        if preview.step != 0 or self.process.first_sample is None:
            return False
        return self.process.train.skip_first_sample or preview.run % 2 == 0

    def _sample_of(self, preview: PreviewFile) -> Sample:
        section = "first_sample" if self._is_first_sample(preview) else "sample"
        samples = self.first_samples if section == "first_sample" else self.samples
        if preview.index < len(samples):
            return samples[preview.index]
        problem = (
            f"{section} of {CONFIG_FILE} lists {len(samples)} prompts and this is number {preview.index} "
            "from 0: the config was changed after this preview"
        )
        return Sample(SampleSettings(prompt=""), 1.0, "", problem)

    @staticmethod
    def _stem(preview: PreviewFile) -> str:
        stem = f"{preview.step:09d}_{preview.index}"
        return f"{stem}_{preview.unix_ms}" if preview.runs_later else stem

    def _trained(self, sample: Sample, weights: Weights) -> Trained:
        model, train = self.process.model, self.process.train
        return Trained(
            arch=ARCH,
            software=weights.lora.software if weights.lora else self.weights.software(),
            dtype=train.dtype,
            quantize=model.quantize,
            quantize_te=model.quantize_te,
            qtype=model.qtype if model.quantize else None,
            qtype_te=model.qtype if model.quantize_te else None,
            ema=train.ema,
            base=redact(model.name_or_path),
            trigger_word=self.process.trigger_word,
            prompt_template=sample.template,
            sampler=self.process.sample.sampler,
        )

    def _case_assumptions(self, preview: PreviewFile, sample: Sample, weights: Weights) -> list[str]:
        notes = list(sample.assumptions)
        if preview.step == 0 and weights.problem is None:
            multiplier = sample.network_multiplier
            notes.append(
                "step 0: nothing is trained yet, so the base alone is rendered "
                f"(network_multiplier {multiplier:g} has no effect)"
            )
        if self._is_first_sample(preview):
            notes.append("rendered from first_sample")
        elif preview.runs_later:
            notes.append(
                f"step {preview.step} was rendered again later; the settings are those of the config now"
            )
        return notes


def _resolve(job_dir: Path, section: str, config: SampleConfig | None, process: Process) -> list[Sample]:
    if config is None:
        return []
    try:
        return resolve_samples(config, process.trigger_word)
    except ValueError as error:
        found, file = f"{error} (the trainer fails on it too)", job_dir / CONFIG_FILE
        raise JobError(found, file=file, field=f"{PROCESS}.{section}", fix="correct the prompt") from error


def _size_problem(sample: Sample, found: tuple[int, int]) -> str | None:
    expected = FLEX2.preview_size(sample.settings.width, sample.settings.height)
    if found == expected:
        return None
    return (
        f"the image is {found[0]}x{found[1]}, but {CONFIG_FILE} gives {expected[0]}x{expected[1]}: "
        "the config was changed after this preview"
    )


def _config_is_later(config_file: Path, previews: list[PreviewFile]) -> str | None:
    """Return a warning where ``config.yaml`` is younger than previews: every start of a job rewrites it."""
    modified = config_file.stat().st_mtime
    older = sum(preview.unix_ms < modified * 1000 for preview in previews)
    if not older:
        return None
    date = datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if older < len(previews):
        which = f"{older} of {len(previews)} previews (the job was resumed)"
    else:
        which = "every preview (a copied folder looks so, and so does a resumed job)"
    return (
        f"{CONFIG_FILE} is dated {date}, later than {which}: their settings are taken to be the same as now"
    )


def _base(config_file: Path, config: JobConfig, given: Base | None) -> tuple[Base, list[str]]:
    """Return the base model and what had to be assumed to find it."""
    if given is not None:
        return given, []
    name = config.process[0].model.name_or_path
    if Path(name).is_dir():
        return Base(path=str(Path(name).resolve())), []
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return Base(repo=name), []
    if re.fullmatch(r"[\w-]+", name) and (CHECKPOINTS / name).is_dir():
        return Base(embedded=name), [
            f"model.name_or_path {name!r} is taken to be the harness's own checkpoint"
        ]
    found, field = f"{name!r} is neither a folder here nor a repository", f"{PROCESS}.model.name_or_path"
    raise JobError(found, file=config_file, field=field, fix="name the base model with --base")

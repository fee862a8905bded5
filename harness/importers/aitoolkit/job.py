"""Turn an AI Toolkit job folder into case files."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

from harness._util.given_paths import path_list
from harness._util.real_paths import real_path
from harness._util.redaction import redact
from harness.errors import HarnessError
from harness.importers.aitoolkit.base_model import find_base
from harness.importers.aitoolkit.config import Process
from harness.importers.aitoolkit.config_age import describe_age, older_previews
from harness.importers.aitoolkit.config_file import find_config, load_config
from harness.importers.aitoolkit.flux_preview import flux_problem
from harness.importers.aitoolkit.job_folder import (
    PreviewFile,
    find_checkpoints,
    find_previews,
    log_software,
    select_steps,
)
from harness.importers.aitoolkit.job_notes import notes_on_job, notes_on_numerics, notes_on_size
from harness.importers.aitoolkit.job_samples import JobSamples
from harness.importers.aitoolkit.left_out import all_refused, notes_on_left_out, together
from harness.importers.aitoolkit.lora_pairing import Weights, WeightsFinder
from harness.importers.aitoolkit.samples import Sample
from harness.importers.draft import Draft, ImportResult, SourceFile, safe_name
from harness.importers.file_record import FileRecord
from harness.importers.preview_image import PreviewImage, read_previews
from harness.importers.writer import write_cases
from harness.schema.base import Base
from harness.schema.case_parts import OlderConfig, SampleSettings, Trained
from harness.schema.lora_file import LoraFile

OLDER = {
    OlderConfig.TIME: "the config is younger than this preview: its settings may have been others",
    OlderConfig.COUNT: "the config was edited after this preview, which the number of previews proves: its "
    "settings are another config's",
}


def import_job(
    job_dir: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    base: Base | None = None,
    steps: str = "all",
    config: str | os.PathLike[str] | None = None,
    leave: Collection[str | os.PathLike[str]] = (),
) -> ImportResult:
    """Import the previews of a training job as cases.

    A checkpoint or a preview that cannot be used makes its own cases incomparable or is left out, by name.
    What is damaged, or not as the trainer saves it, is in the result's ``refused`` too.

    Args:
        job_dir: the folder that holds checkpoints and ``samples``, or the samples alone.
        out: folder for the case files and copies of previews and LoRAs; a previous import of the same job is
            brought up to date.
        base: the base model; None takes ``model.name_or_path`` of the job.
        steps: ``all``, ``last``, or training steps and ranges like ``250,500-1000``.
        config: the job's config, YAML or JSON; None looks for ``config.yaml``, then ``.job_config.json``.
        leave: previews that are not imported yet.

    Raises:
        JobError: the folder, its config or its prompts cannot be read, or ``out`` is in use.
        ImageError: no preview can be read.
    """
    job_dir = Path(job_dir)
    out = Path(out)
    config = None if config is None else Path(config)
    leave = path_list(leave)
    job_dir = real_path(job_dir)
    config_file = config or find_config(job_dir)
    parsed = load_config(config_file)
    process = parsed.process[0]
    previews = find_previews(job_dir, process.sample.format)
    record = FileRecord(out)
    weights = WeightsFinder(find_checkpoints(job_dir, parsed.name), process, record, log_software(job_dir))
    samples = JobSamples(config_file, process)
    count = len(samples.of("sample", weights.software(previews[-1].step)))
    regular = [preview for preview in previews if samples.section_of(preview) == "sample"]
    older = older_previews(config_file, regular, count) if config is None else {}
    job = _Job(process, samples, weights, older, config_file.name, record)
    base, assumptions = (base, []) if base is not None else find_base(config_file, parsed)
    chosen = [preview for preview in select_steps(previews, steps) if preview.path not in leave]
    drafts, refused = job.drafts(chosen)
    assumptions += notes_on_job(process)
    if config is None:
        assumptions += describe_age(config_file, regular, older, count)
    assumptions += notes_on_left_out(job_dir, refused)
    written = write_cases(
        drafts,
        job=safe_name(parsed.name),
        base=base,
        out=out,
        previews={preview.path.name: preview.path for preview in previews},
        assumptions=assumptions,
        record=record,
    )
    return replace(written, refused=refused)


@dataclass(frozen=True)
class _Job:
    process: Process
    samples: JobSamples
    weights: WeightsFinder
    older: Mapping[Path, OlderConfig]
    config_name: str
    record: FileRecord

    def drafts(self, previews: Sequence[PreviewFile]) -> tuple[list[Draft], list[HarnessError]]:
        """Return a draft of each preview that can be read, and what is wrong with each file that is refused.

        Raises:
            ImageError: none can be read.
        """
        drafts: list[Draft] = []
        refused: dict[str, HarnessError] = {}
        images = read_previews([preview.path for preview in previews], self.record)
        for preview, image in zip(previews, images, strict=True):
            if isinstance(image, PreviewImage):
                weights = self.weights.find(preview)
                drafts.append(self._draft(preview, image, weights))
                if weights.refused is not None:
                    refused[str(weights.refused)] = weights.refused
            else:
                refused[str(image)] = image
        found = together(refused.values())
        if not drafts and found:
            raise all_refused(found, previews[0].path.parent)
        return drafts, found

    def _draft(self, preview: PreviewFile, image: PreviewImage, weights: Weights) -> Draft:
        software = (weights.lora and weights.lora.software) or self.weights.software(preview.step)
        sample = self._sample_of(preview, software)
        older = self.older.get(preview.path)
        problem = (
            self.process.not_in_reference()
            or (flux_problem(self.process) if self.process.model.spec.flux_trainer else None)
            or sample.problem
            or ("it is an animated image, a video" if image.animated else None)
            or self._size_problem(sample, image.size)
        )
        gone = problem is None and weights.problem is not None
        return Draft(
            stem=self._stem(preview),
            model=self.process.model.spec.name,
            preview=SourceFile(preview.path, image.sha256),
            image_size=image.size,
            step=preview.step,
            index=preview.index,
            lora=_source(weights.lora),
            network_multiplier=sample.network_multiplier,
            settings=sample.settings,
            trained=self._trained(sample.template, software),
            note=weights.note,
            incomparable=problem or weights.problem,
            lora_gone=gone,
            neighbours=[(step, _source(lora)) for step, lora in self.weights.neighbours(preview.step)]
            if gone and self.process.network is not None
            else [],
            older_config=older,
            encoder_dtype="fp16" if self.process.train.dtype in {"fp16", "float16"} else None,
            quantize_exclude=model.quantize_kwargs.left_out if (model := self.process.model).quantize else (),
            assumptions=[
                *sample.assumptions,
                *([OLDER[older]] if older else []),
                *self._notes_on_numerics(software),
                *self._preview_notes(preview, sample, weights),
                *([] if problem else notes_on_size(self.process.model.spec, sample.settings)),
            ],
        )

    def _sample_of(self, preview: PreviewFile, software: str | None) -> Sample:
        section = self.samples.section_of(preview)
        samples = self.samples.of(section, software)
        if preview.index < len(samples):
            return samples[preview.index]
        problem = (
            f"{section} of {self.config_name} lists {len(samples)} prompts, and this is number "
            f"{preview.index} from 0: the config was changed after this preview"
        )
        return Sample(SampleSettings(prompt=""), 1.0, "", problem)

    def _size_problem(self, sample: Sample, found: tuple[int, int]) -> str | None:
        expected = self.process.model.spec.preview_size(sample.settings.width, sample.settings.height)
        if found == expected:
            return None
        unit = self.process.model.spec.latent_divisor
        why = "the config was changed after this preview, or the image was scaled or cut"
        if found[0] % unit or found[1] % unit:
            why = f"the trainer draws multiples of {unit} only, so the image was scaled or cut"
        gives = f"{self.config_name} gives {expected[0]}x{expected[1]}"
        return f"the image is {found[0]}x{found[1]}, but {gives}: {why}"

    @staticmethod
    def _stem(preview: PreviewFile) -> str:
        stem = f"{preview.step:09d}_{preview.index}"
        return f"{stem}_{preview.unix_ms}" if preview.runs_later else stem

    @cached_property
    def _notes_on_numerics(self) -> Callable[[str | None], list[str]]:
        return cache(partial(notes_on_numerics, self.process))

    @cached_property
    def _trained(self) -> Callable[[str, str | None], Trained]:
        """What the cases of one prompt say of the training, held once."""
        return cache(self._trained_of)

    def _trained_of(self, template: str, software: str | None) -> Trained:
        model, train = self.process.model, self.process.train
        qtype, _ = model.quantizer(software, self.process.device)
        return Trained(
            arch=model.spec.name,
            software=software,
            dtype=train.dtype,
            quantize=model.quantize,
            quantize_te=model.quantize_te,
            qtype=qtype if model.quantize else None,
            qtype_te=qtype if model.quantize_te else None,
            ema=train.ema(software),
            base=redact(model.name_or_path),
            trigger_word=self.process.trigger_word,
            prompt_template=template,
            sampler=self.process.sample.sampler,
        )

    def _preview_notes(self, preview: PreviewFile, sample: Sample, weights: Weights) -> list[str]:
        notes = [*weights.lora.notes, *weights.origin_notes(self.weights.job_name)] if weights.lora else []
        if preview.step == 0 and weights.problem is None:
            notes.append(
                "step 0: nothing is trained yet, so the base alone is rendered "
                f"(network_multiplier {sample.network_multiplier:g} has no effect)"
            )
        if preview.copies:
            notes.append(f"left out, as copies of it in another format: {', '.join(preview.copies)}")
        if self.samples.section_of(preview) == "first_sample":
            notes.append("rendered from first_sample")
        elif preview.runs_later:
            notes.append(
                f"step {preview.step} was rendered again later; the settings are those of the config now"
            )
        return notes


def _source(lora: LoraFile | None) -> SourceFile | None:
    return SourceFile(lora.path, lora.sha256) if lora is not None else None

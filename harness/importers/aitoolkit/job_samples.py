"""The samples of a job's config as one version of the trainer reads them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from harness.errors import JobError
from harness.importers.aitoolkit.config import Process
from harness.importers.aitoolkit.config_file import PROCESS
from harness.importers.aitoolkit.job_folder import PreviewFile
from harness.importers.aitoolkit.sample_config import SampleConfig
from harness.importers.aitoolkit.samples import Sample, resolve_samples, with_note, with_prompts_of
from harness.schema.trainer_versions import CACHED_PROMPTS, LITERAL_TRIGGER

Section = Literal["sample", "first_sample"]


class JobSamples:
    """Resolves ``sample`` and ``first_sample`` once for each version that a job's checkpoints record.

    Raises:
        JobError: a prompt has a flag that the trainer fails on, or the config lists no samples.
    """

    def __init__(self, config_file: Path, process: Process) -> None:
        self._config_file = config_file
        self._process = process
        self.of = cache(self._of)
        if not self.of("sample", None) and not self.of("first_sample", None):
            raise JobError("lists no samples", file=config_file, field=f"{PROCESS}.sample")

    def section_of(self, preview: PreviewFile) -> Section:
        """Return the section that a preview was rendered from.

        At step 0 previews of ``first_sample`` come first, and those of ``sample`` follow unless skipped.
        """
        if preview.step != 0 or self._process.first_sample is None:
            return "sample"
        first = self._process.train.skip_first_sample or preview.run % 2 == 0
        return "first_sample" if first else "sample"

    def _of(self, section: Section, software: str | None) -> list[Sample]:
        process = self._process
        config = process.sample if section == "sample" else process.first_sample
        if config is None:
            return []
        caches = process.caches_prompts
        samples = self._resolve(
            section, config, software, literal=caches and LITERAL_TRIGGER.holds(software) is True
        )
        if caches and section == "first_sample" and CACHED_PROMPTS.holds(software) is not False:
            samples = with_prompts_of(self.of("sample", software), samples)
        if caches and process.trigger_word and LITERAL_TRIGGER.holds(software) is None:
            said = LITERAL_TRIGGER.unknown(software)
            note = f"it is unknown whether [trigger] stayed in the prompt ({said})"
            samples = [with_note(sample, note, where="[trigger]") for sample in samples]
        return samples

    def _resolve(
        self, section: Section, config: SampleConfig, software: str | None, *, literal: bool
    ) -> list[Sample]:
        try:
            return resolve_samples(config, self._process.trigger_word, software=software, literal=literal)
        except ValueError as error:
            found, field = f"{error} (the trainer fails on it too)", f"{PROCESS}.{section}"
            raise JobError(found, file=self._config_file, field=field, fix="correct the prompt") from error

"""Which saved LoRA a preview saw, and which version of the trainer made it.

Saving precedes sampling, so the same step number means the same weights; the last sample carries the final
step and goes with the file without a number. Source: ``ostris/ai-toolkit``, ``BaseSDTrainProcess``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

from harness.errors import LoraError, UnrenderableLoraError
from harness.importers.aitoolkit.config import Process
from harness.importers.aitoolkit.job_folder import Checkpoints, PreviewFile
from harness.importers.file_record import FileRecord
from harness.schema.lora_file import LoraFile, inspect_lora, read_metadata, software_of, step_of
from harness.schema.trainer_versions import PRETRAINED_LORA


@dataclass(frozen=True)
class Weights:
    """The LoRA of one preview, or why there is none.

    Attributes:
        note: which rule chose the file, or why the base model alone is right.
        problem: why the preview cannot be re-run, or None.
        refused: the file is damaged, or not as AI Toolkit saves it.
    """

    lora: LoraFile | None
    note: str = ""
    problem: str | None = None
    refused: LoraError | None = None

    def origin_notes(self, job: str) -> list[str]:
        """Say where the LoRA's metadata names another job than ``job``."""
        saved_by = self.lora.metadata.get("ss_output_name") if self.lora else None
        if self.lora is None or not saved_by or saved_by == job:
            return []
        return [f"{self.lora.path.name} is of job {saved_by[:60]!r} by its metadata, and not of {job!r}"]


class WeightsFinder:
    """Pairs previews with the checkpoints of one job; every file is inspected once.

    Args:
        log_software: trainer and version that the job's log names, for files that do not say.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        process: Process,
        record: FileRecord,
        log_software: str | None = None,
    ) -> None:
        self._checkpoints = checkpoints
        self._process = process
        self._log_software = log_software
        self._inspect = cache(partial(_inspect, record))
        self._metadata = cache(read_metadata)

    @property
    def job_name(self) -> str:
        """The job that the checkpoints are named after."""
        return self._checkpoints.name

    def find(self, preview: PreviewFile) -> Weights:
        """Return the weights that ``preview`` was rendered with."""
        if preview.step == 0:
            return self._untrained()
        if self._process.network is None:
            found = (
                "the job has no network: it trained the transformer itself, and the reference can render only"
            )
            return Weights(None, problem=f"{found} its base with a LoRA")
        if preview.runs_later and not self._process.train.force_first_sample:
            found = (
                f"the job rendered step {preview.step} again later: its checkpoint belongs to the later run"
            )
            return Weights(None, problem=found)
        if path := self._checkpoints.numbered.get(preview.step):
            return self._numbered(path, preview.step)
        if path := self._saved.get(preview.step):
            renamed = f"step {preview.step} of this job by its metadata"
            return self._inspect(path, "final file" if path == self._checkpoints.final else renamed)
        return Weights(None, problem=self._missing(preview.step))

    def neighbours(self, step: int) -> list[tuple[int, LoraFile | None]]:
        """Return the usable checkpoints before and after ``step``; step 0 stands for the base alone."""
        usable = {
            saved: lora for saved, path in self._saved.items() if (lora := self._inspect(path, "").lora)
        }
        before = max((saved for saved in usable if saved < step), default=None)
        after = min((saved for saved in usable if saved > step), default=None)
        found: list[tuple[int, LoraFile | None]] = []
        if before is not None:
            found.append((before, usable[before]))
        elif self._untrained().problem is None:
            found.append((0, None))
        return [*found, (after, usable[after])] if found and after is not None else []

    @cached_property
    def final_step(self) -> int:
        """The step of the file without a number: as its metadata says, else ``train.steps``."""
        final = self._checkpoints.final
        step = step_of(self._metadata(final)) if final is not None else None
        return step if step is not None else self._process.train.steps

    def software(self, step: int) -> str | None:
        """Return the trainer's name and version at ``step``, as the nearest checkpoints record it.

        None where they record none, or where the trainer was updated between the two.
        """
        before = max((saved for saved in self._versions if saved <= step), default=None)
        after = min((saved for saved in self._versions if saved >= step), default=None)
        versions = {self._versions[saved] for saved in (before, after) if saved is not None}
        return versions.pop() if len(versions) == 1 else self._log_software

    @cached_property
    def _versions(self) -> Mapping[int, str]:
        """Trainer and version by the step of each checkpoint that records one."""
        found = {step: software_of(self._metadata(path)) for step, path in self._saved.items()}
        return {step: software for step, software in found.items() if software}

    @cached_property
    def _saved(self) -> Mapping[int, Path]:
        """The files of all checkpoints by their step."""
        final = self._checkpoints.final
        named = self._checkpoints.numbered | ({self.final_step: final} if final is not None else {})
        return {**self._renamed, **named}

    @cached_property
    def _renamed(self) -> Mapping[int, Path]:
        """Files of other names whose metadata names this job and a step, by that step."""
        found = {}
        for path in self._checkpoints.other:
            metadata = self._metadata(path)
            step = step_of(metadata)
            if step is not None and metadata.get("ss_output_name") == self._checkpoints.name:
                found[step] = path
        return found

    def _untrained(self) -> Weights:
        network = self._process.network
        if network is None or not network.pretrained_lora_path:
            return Weights(None, "untrained: base alone")
        if PRETRAINED_LORA.holds(self.software(0)) is False:
            return Weights(
                None, f"untrained: base alone, since {self.software(0)} does not read pretrained_lora_path"
            )
        found = "training started from network.pretrained_lora_path: step 0 is not the base alone"
        return Weights(None, problem=found)

    def _numbered(self, path: Path, step: int) -> Weights:
        """Return the weights of ``path``, or those of the file whose metadata says ``step``.

        Where no file says it, the LoRA stays beside the problem, so that a diagnosis can go on with it.
        """
        recorded = step_of(self._metadata(path))
        if recorded is None or recorded == step:
            return self._inspect(path, "")
        for other in (*self._checkpoints.numbered.values(), self._checkpoints.final):
            if other is not None and step_of(self._metadata(other)) == step:
                return self._inspect(
                    other, f"step {step} by its metadata, where {path.name} is of step {recorded}"
                )
        problem = f"the metadata of {path.name} says step {recorded}, not {step}"
        return Weights(self._inspect(path, "").lora, problem=problem)

    def _missing(self, step: int) -> str:
        checkpoints, name = self._checkpoints, self._checkpoints.name
        if self._process.train.merge_network_on_save:
            return "train.merge_network_on_save saved the LoRA inside the transformer, and not by itself"
        if not self._saved:
            if not checkpoints.other:
                return "no LoRA lies beside the previews: give the whole job folder, with its .safetensors"
            steps = {path: step_of(self._metadata(path)) for path in checkpoints.other}
            other = next((path for path in steps if steps[path] == step), None)
            other = other or next((path for path in steps if steps[path] is None), None)
            found = "no LoRA here is named after the job"
            if other is None:
                return f"{found}, and none is of step {step} by its metadata"
            return f"{found}: if {other.name} is its own, name it {name}_{step:09d}.safetensors"
        every = self._process.save.save_every
        if every and step % every == 0:
            reason = f"the checkpoint of step {step} is missing: pruned by max_step_saves_to_keep, or deleted"
        else:
            reason = f"no checkpoint was saved at step {step} (save_every is {every})"
        if checkpoints.final is not None and step < self.final_step:
            reason += ", or it was the final file before the job was resumed"
        return reason


def _inspect(record: FileRecord, path: Path, note: str) -> Weights:
    """Return a LoRA, or why it cannot be used: one bad file does not stop a job."""
    try:
        lora = inspect_lora(path, (record.recall(path) or {}).get("lora_sha256"))
        record.remember(path, lora_sha256=lora.sha256)
        return Weights(lora, note)
    except LoraError as error:
        where = f" ({error.field})" if error.field else ""
        fix = f"; {error.fix}" if error.fix else ""
        refused = None if isinstance(error, UnrenderableLoraError) else error
        return Weights(None, problem=f"its LoRA {path.name} {error.found}{where}{fix}", refused=refused)

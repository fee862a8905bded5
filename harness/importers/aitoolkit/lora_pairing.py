"""Which saved LoRA a preview saw.

Saving precedes sampling, so the same step number means the same weights; the last sample carries the final
step and goes with the file without a number. Source: ``ostris/ai-toolkit``, ``BaseSDTrainProcess``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.importers.aitoolkit.config import Process
from harness.importers.aitoolkit.job_folder import Checkpoints, PreviewFile
from harness.schema.lora_file import LoraFile, inspect_lora


@dataclass(frozen=True)
class Weights:
    """The LoRA of one preview, or why there is none.

    Attributes:
        note: which rule chose the file, or why the base model alone is right.
        problem: why the preview cannot be re-run, or None.
    """

    lora: LoraFile | None
    note: str = ""
    problem: str | None = None


class WeightsFinder:
    """Pairs previews with the checkpoints of one job; every file is inspected once."""

    def __init__(self, checkpoints: Checkpoints, process: Process) -> None:
        self._checkpoints = checkpoints
        self._process = process
        self._inspected: dict[Path, LoraFile] = {}

    def find(self, preview: PreviewFile) -> Weights:
        """Return the weights that ``preview`` was rendered with.

        Raises:
            LoraError: the file that belongs to it is unsafe, broken, or not a LoRA of this kind.
        """
        if preview.step == 0:
            return self._untrained()
        if self._process.network is None:
            return Weights(
                None,
                problem="the job has no network: it trained the transformer itself, and the reference can "
                "render only its base with a LoRA",
            )
        if preview.runs_later and not self._process.train.force_first_sample:
            return Weights(
                None,
                problem=f"the job rendered step {preview.step} again later: its checkpoint belongs to "
                "the later run",
            )
        if path := self._checkpoints.numbered.get(preview.step):
            return self._numbered(path, preview.step)
        if self._checkpoints.final is not None and preview.step == self.final_step:
            return Weights(self._inspect(self._checkpoints.final), "final file")
        return Weights(None, problem=self._missing(preview.step))

    @property
    def final_step(self) -> int:
        """The step of the file without a number: as its metadata says, else ``train.steps``."""
        final = self._checkpoints.final
        step = self._inspect(final).step if final is not None else None
        return step if step is not None else self._process.train.steps

    def software(self) -> str | None:
        """Return the trainer's name and version as any checkpoint records it."""
        paths = [*self._checkpoints.numbered.values(), self._checkpoints.final]
        path = next((path for path in paths if path is not None), None)
        return self._inspect(path).software if path is not None else None

    def _untrained(self) -> Weights:
        network = self._process.network
        if network is not None and network.pretrained_lora_path:
            return Weights(
                None,
                problem="training started from network.pretrained_lora_path: step 0 is not the base alone",
            )
        return Weights(None, "untrained: base alone")

    def _numbered(self, path: Path, step: int) -> Weights:
        lora = self._inspect(path)
        if lora.step is not None and lora.step != step:
            return Weights(None, problem=f"the metadata of {path.name} says step {lora.step}, not {step}")
        return Weights(lora)

    def _missing(self, step: int) -> str:
        checkpoints = self._checkpoints
        if checkpoints.other and not checkpoints.numbered and checkpoints.final is None:
            other = checkpoints.other[0].name
            return f"no LoRA here is named after the job (config.name); {other} is of another name"
        every = self._process.save.save_every
        if every and step % every == 0:
            reason = f"the checkpoint of step {step} is missing: pruned by max_step_saves_to_keep, or deleted"
        else:
            reason = f"no checkpoint was saved at step {step} (save_every is {every})"
        if checkpoints.final is not None and step < self.final_step:
            reason += ", or it was the final file before the job was resumed"
        return reason

    def _inspect(self, path: Path) -> LoraFile:
        if path not in self._inspected:
            self._inspected[path] = inspect_lora(path)
        return self._inspected[path]

"""Which checkpoint of the job a tool's LoRA is, by name and by the hash that the tool recorded."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from harness.importers.image_metadata.inference_settings import LoraUse
from harness.schema.case import Case
from harness.schema.lora_file import read_metadata, step_of

_STEP = re.compile(r"(.+)_(\d{9})\Z")
MIN_HASH = 8
"""Hexadecimal digits below which a hash proves nothing."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """One LoRA file of the job: its step, where its header records one, and the header's hash of weights."""

    path: Path
    step: int | None
    weights_hash: str | None

    @property
    def label(self) -> str:
        """The file's name, and its step where that is known."""
        return f"{self.path.name} (step {self.step})" if self.step is not None else self.path.name


@dataclass(frozen=True)
class LoraMatch:
    """What a tool's LoRA was found to be.

    Attributes:
        checkpoint: the file beside the case; None where it is none of them.
        step: the training step that its name says, where no file is it.
        sure: the name or the hash decides; False where neither says anything.
    """

    checkpoint: Checkpoint | None
    step: int | None
    sure: bool
    note: str = ""


def checkpoints_of(case: Case) -> list[Checkpoint]:
    """Return the LoRA files that lie beside the case's own, the own one first; headers alone are read."""
    own = case.lora_path
    folder = own.parent if own is not None else case.folder / "loras"
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    ordered = sorted(files, key=lambda path: path != own)
    return [_checkpoint(path) for path in ordered]


def match_lora(use: LoraUse, case: Case, checkpoints: list[Checkpoint]) -> LoraMatch:
    """Return which of ``checkpoints`` a tool's LoRA is.

    A hash decides before a name: files are renamed, and a resumed job overwrites its final file.
    """
    if use.hash is not None and len(use.hash) >= MIN_HASH:
        for each in checkpoints:
            if _has_hash(each, use.hash):
                renamed = each.path.stem != use.stem
                return LoraMatch(
                    each, each.step, True, "renamed; its hash tells" if renamed else "by its hash"
                )
        if checkpoints:
            return LoraMatch(None, _step_of(use, case), True, "its hash is that of no file beside the case")
    by_name = [each for each in checkpoints if each.path.stem.lower() == use.stem.lower()]
    if by_name:
        return LoraMatch(by_name[0], by_name[0].step, True)
    step = _step_of(use, case)
    at_step = [each for each in checkpoints if step is not None and each.step == step]
    if at_step:
        return LoraMatch(at_step[0], step, True)
    return LoraMatch(
        None, step, step is not None, "" if step is not None else "its name is none of the job's"
    )


def _step_of(use: LoraUse, case: Case) -> int | None:
    """Return the step that a name says in the trainer's own form, where it is a file of the case's job."""
    match, own = _STEP.match(use.stem), case.lora_path
    if match is None:
        return None
    job = _STEP.sub(r"\1", own.stem) if own is not None else case.id.partition("/")[0]
    return int(match[2]) if match[1].lower() == job.lower() else None


def _checkpoint(path: Path) -> Checkpoint:
    metadata = read_metadata(path)
    recorded = metadata.get("sshs_model_hash")
    return Checkpoint(path, step_of(metadata), recorded.lower() if recorded else None)


def _has_hash(checkpoint: Checkpoint, recorded: str) -> bool:
    """Compare with the hash of the weights, as A1111 and Forge record it, and with that of the whole file.

    They take the header's word for the former, and hash what follows a header that says nothing. So it is
    the same for files that hold the same weights, and differ in their metadata or its order.
    """
    if checkpoint.weights_hash is not None and checkpoint.weights_hash.startswith(recorded):
        return True
    return any(digest.startswith(recorded) for digest in _digests(checkpoint.path))


def _digests(path: Path) -> tuple[str, str]:
    """Return the SHA-256 of a safetensors file, and of its weights alone."""
    with path.open("rb") as file:
        start = file.read(8)
        whole = hashlib.sha256(start + file.read(int.from_bytes(start, "little")))
        weights = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            weights.update(chunk)
    return whole.hexdigest(), weights.hexdigest()

"""What every importer hands over: drafts of cases, and the outcome of an import."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.schema.case import Case, EncoderDtype
from harness.schema.case_parts import OlderConfig, SampleSettings, Trained
from harness.schema.spec import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Pairing:
    """What one preview was paired with.

    Attributes:
        preview: file name of the preview.
        step: training step; None where the source has none.
        index: position among the samples or prompts.
        lora: file name of the LoRA, None for the base model alone or a missing checkpoint.
        note: why there is no LoRA, or which rule chose it; why the preview cannot be re-run.
    """

    preview: str
    step: int | None
    index: int
    lora: str | None
    note: str


@dataclass(frozen=True)
class ImportResult:
    """The outcome of an import.

    Attributes:
        cases: the cases of this import as saved, in the order of step and index.
        folder: where they lie.
        pairings: one per case, in the same order.
        assumptions: what holds for the whole import and what a previous one added, in sentences.
        refused: files of the source that are bad input: their cases are incomparable, or left out.
    """

    cases: list[Case]
    folder: Path
    pairings: list[Pairing]
    assumptions: list[str]
    refused: list[HarnessError] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """Return one row per case: pairing, settings, and why it is incomparable if it is."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "case": case.id,
                    **vars(pairing),
                    "network_multiplier": case.lora.network_multiplier if case.lora else None,
                    **case.settings.model_dump(),
                    "incomparable": case.incomparable,
                }
                for case, pairing in zip(self.cases, self.pairings, strict=True)
            ]
        )


@dataclass(frozen=True)
class SourceFile:
    """A file that a case will hold a copy of."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Draft:
    """A case whose preview and LoRA still lie where they were found.

    Attributes:
        stem: last part of the case's id and name of its file.
        image_size: (width, height) of the preview in pixels.
        preview_name: file name of the preview's copy; None keeps its own.
        lora_gone: the preview is incomparable for want of its checkpoint alone.
        older_config: how it is known that the settings are of a config written after the preview.
        neighbours: steps and LoRAs of the saved checkpoints around a preview that has lost its own.
        encoder_dtype: dtype of T5, where the trainer casts more of it than the reference does.
        quantize_exclude: patterns of the transformer's layers that the job did not quantize.
        model: a name in ``schema.spec.MODELS``.
    """

    stem: str
    preview: SourceFile
    image_size: tuple[int, int]
    step: int | None
    index: int
    lora: SourceFile | None
    network_multiplier: float
    settings: SampleSettings
    trained: Trained
    preview_name: str | None = None
    note: str = ""
    incomparable: str | None = None
    assumptions: list[str] = field(default_factory=list)
    lora_gone: bool = False
    older_config: OlderConfig | None = None
    encoder_dtype: EncoderDtype | None = None
    quantize_exclude: Sequence[str] = ()
    neighbours: Sequence[tuple[int, SourceFile | None]] = ()
    model: str = DEFAULT_MODEL

    def pairing(self) -> Pairing:
        """Return the line that a user reads about this draft."""
        lora = self.lora.path.name if self.lora else None
        return Pairing(self.preview.path.name, self.step, self.index, lora, self.incomparable or self.note)


_MAX_BYTES = 248
"""Of a folder's name before its hash; disks allow 255."""


def safe_name(name: str) -> str:
    """Return ``name`` with everything that a case id may not hold replaced by ``_``.

    A changed name ends in a part of the old one's hash, so that two jobs never share an id.
    """
    cleaned = re.sub(r"[^\w.+ -]+", "_", name).strip()[:120]
    cleaned = cleaned.encode()[:_MAX_BYTES].decode(errors="ignore").strip()
    if not cleaned or cleaned in {".", ".."} or cleaned.startswith("-"):
        cleaned = f"_{cleaned}"
    if cleaned == name:
        return name
    return f"{cleaned}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:6]}"

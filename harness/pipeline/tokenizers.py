"""Load a checkpoint's tokenizers, each of them whole: transformers makes up what their files lack.

It says nothing of it, and the same prompt then becomes other tokens.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import CheckpointError
from harness.pipeline.checkpoint import Checkpoint, read_index, read_json
from harness.schema.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_LENGTH = 1_000_000
"""transformers stands a far larger number for a length that no file gives, and diffusers pads to it."""

FIX = "download the base again"


def load_tokenizers(checkpoint: Checkpoint, spec: ModelSpec) -> dict[str, PreTrainedTokenizerBase]:
    """Return every tokenizer of ``checkpoint`` by the name of its component.

    Raises:
        CheckpointError: one cannot be loaded, has no length, or lacks merges of its vocabulary.
    """
    index = read_index(checkpoint.folder)
    loaded = {name: _load(checkpoint.folder / name, index[name]) for name in spec.tokenizer_files}
    if loaded["tokenizer"].model_max_length > MAX_LENGTH:
        file = checkpoint.folder / "tokenizer" / "tokenizer_config.json"
        raise CheckpointError("is not given", file=file, field="model_max_length", fix=FIX)
    for name, tokenizer in loaded.items():
        _check_merges(checkpoint.folder / name, tokenizer)
    return loaded


def _load(folder: Path, entry: Sequence[str]) -> PreTrainedTokenizerBase:
    library, class_name = entry
    try:
        cls: type[PreTrainedTokenizerBase] = getattr(importlib.import_module(library), class_name)
        return cls.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a library reads foreign files here and may raise anything
        found = f"cannot be loaded ({type(error).__name__}: {error})"
        raise CheckpointError(" ".join(found.split()), file=folder, fix=FIX) from error


def _check_merges(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse merges that do not make the whole vocabulary: words are then cut into other tokens.

    Every entry of it is a byte, with or without the mark of a word's end, a merge of two others, or special.
    """
    file = folder / "merges.txt"
    if not file.is_file() or not (folder / "vocab.json").is_file():
        return
    made = {line.replace(" ", "") for line in file.read_text(encoding="utf-8").splitlines()}
    vocabulary = {token for token in read_json(folder / "vocab.json") if len(token.removesuffix("</w>")) > 1}
    if lost := vocabulary - made - {*tokenizer.all_special_tokens}:
        found = f"lacks the merges of {len(lost)} entries of vocab.json ({', '.join(sorted(lost)[:3])} …)"
        raise CheckpointError(found, file=file, fix=FIX)

"""A tokenizer that lacks something ends in one line; transformers would make up what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "the last merges are cut off": (
        "tokenizer/merges.txt",
        lambda file: file.write_text(file.read_text()[: file.stat().st_size // 2]),
    ),
    "no merges": ("tokenizer/merges.txt", lambda file: file.write_text("")),
    "one merge is missing": (
        "tokenizer/merges.txt",
        lambda file: file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1])),
    ),
    "the vocabulary is cut off": (
        "tokenizer/vocab.json",
        lambda file: file.write_text(file.read_text()[: file.stat().st_size // 2]),
    ),
    "no length": ("tokenizer/tokenizer_config.json", lambda file: file.write_text("{}")),
    "settings that are no JSON": ("tokenizer/tokenizer_config.json", lambda file: file.write_text("{")),
    "settings that are a list": ("tokenizer/tokenizer_config.json", lambda file: file.write_text("[]")),
    "a folder for settings": (
        "tokenizer/tokenizer_config.json",
        lambda file: (file.unlink(), file.mkdir()),
    ),
    "a vocabulary that links to itself": (
        "tokenizer_2/tokenizer.json",
        lambda file: (file.unlink(), file.symlink_to(file)),
    ),
    "a folder for a vocabulary": ("tokenizer_2/tokenizer.json", lambda file: (file.unlink(), file.mkdir())),
    "a pointer of Git LFS": (
        "tokenizer_2/tokenizer.json",
        lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n"),
    ),
    "an object without a vocabulary": ("tokenizer_2/tokenizer.json", lambda file: file.write_text("{}")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_broken_tokenizer_is_refused(base: Path, refused: Callable[[str], str], change: str) -> None:
    place, make = CHANGES[change]
    make(base / place)
    assert str(base / Path(place).parent) in refused(Path(place).parent.name)

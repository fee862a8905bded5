"""Which base checkpoint a case is rendered with."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field, model_validator

from harness._util.real_paths import real_path
from harness.errors import CaseError
from harness.schema.fields import AnyPath, Strict

MODEL_FILES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")
"""Endings of single files with weights, which no repository's name has."""


def is_model_file(text: str) -> bool:
    """Say whether a text names one file with weights, as tools other than diffusers load them."""
    return text.lower().endswith(MODEL_FILES) or Path(text).is_file()


class Base(Strict):
    """The base checkpoint: exactly one of a hub repository, a local folder, or one that ships here."""

    repo: str | None = Field(None, description="Hugging Face repository, e.g. ostris/Flex.2-preview.")
    revision: str | None = Field(
        None, description="Commit of the repository; pin it to make runs comparable."
    )
    path: AnyPath | None = Field(
        None, description="Local folder in the hub's layout; relative to the case file."
    )
    embedded: str | None = Field(None, description="Name of a checkpoint shipped with the harness.")

    @model_validator(mode="after")
    def _one_source(self) -> Base:
        if sum(source is not None for source in (self.repo, self.path, self.embedded)) != 1:
            raise ValueError("give exactly one of repo, path, embedded")
        if self.revision is not None and self.repo is None:
            raise ValueError("revision goes with repo")
        return self

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Base:
        """Read the ``--base`` form: ``embedded:NAME``, an existing folder, or ``OWNER/NAME[@REVISION]``.

        Raises:
            CaseError: none of these, or a single file.
        """
        text = os.fspath(text)
        if match := re.fullmatch(r"embedded:([\w.-]+)", text):
            return cls(embedded=match[1])
        if text and Path(text).is_dir():
            return cls(path=str(real_path(text)))
        if is_model_file(text):
            raise CaseError(
                f"{text!r} is a single file, without text encoders and scheduler",
                field="--base",
                fix="give a folder in the hub's layout, or OWNER/NAME@COMMIT; harness audit reads such files",
            )
        match = re.fullmatch(r"(?P<repo>[\w-][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", text)
        if match is None:
            raise CaseError(
                f"{text!r} is neither a folder nor a repository",
                field="--base",
                fix="give OWNER/NAME or OWNER/NAME@COMMIT, a folder that exists, or embedded:NAME",
            )
        return cls(repo=match["repo"], revision=match["revision"])

    def __str__(self) -> str:
        if self.embedded is not None:
            return f"embedded:{self.embedded}"
        if self.path is not None:
            return self.path
        return f"{self.repo}@{self.revision}" if self.revision else str(self.repo)

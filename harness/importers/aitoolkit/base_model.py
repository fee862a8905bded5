"""The base model that a job's config names."""

from __future__ import annotations

import re
from pathlib import Path

from harness._util.real_paths import real_path
from harness.data import CHECKPOINTS
from harness.errors import JobError
from harness.importers.aitoolkit.config import JobConfig
from harness.importers.aitoolkit.config_file import PROCESS
from harness.schema.base import Base, is_model_file


def find_base(config_file: Path, config: JobConfig) -> tuple[Base, list[str]]:
    """Return the base model and what had to be assumed to find it.

    Raises:
        JobError: ``model.name_or_path`` is neither a folder here nor a repository.
    """
    name = config.process[0].model.name_or_path
    if name and Path(name).is_dir():
        return Base(path=str(real_path(name))), []
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith(".") and not is_model_file(name):
        return Base(repo=name), []
    if re.fullmatch(r"[\w-]+", name) and (CHECKPOINTS / name).is_dir():
        return Base(embedded=name), [
            f"model.name_or_path {name!r} is taken to be the harness's own checkpoint"
        ]
    found, field = f"{name!r} is neither a folder here nor a repository", f"{PROCESS}.model.name_or_path"
    raise JobError(found, file=config_file, field=field, fix="name the base model with --base")

"""Find a base checkpoint on disk, say which revision it is, and check that it has Flex.2's shape."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._util.atomic_files import read_bytes, sha256_file
from harness.data import CHECKPOINTS
from harness.errors import CheckpointError
from harness.schema.base import Base
from harness.schema.spec import ModelSpec

PIPELINE_FILE = "pipeline.py"
LIBRARIES = (["diffusers"], ["transformers"], [None])

_SAMPLE = 1 << 16


@dataclass(frozen=True)
class Checkpoint:
    """A base checkpoint on disk, in the hub's layout.

    Attributes:
        folder: holds ``model_index.json`` and one folder per component.
        name: how rows and reports call it.
        revision: the hub's commit, or a fingerprint of the folder's content.
        pinned: it was asked for by that commit, or is a local folder; a branch may move.
    """

    folder: Path
    name: str
    revision: str
    pinned: bool = True

    @property
    def pipeline_file(self) -> Path:
        """The checkpoint's own pipeline code; it need not exist."""
        return self.folder / PIPELINE_FILE

    def component_bytes(self) -> dict[str, int]:
        """Return the size in bytes of the weights of every component that has some."""
        sizes: dict[str, int] = {}
        for file in self.folder.glob("*/*.safetensors"):
            sizes[file.parent.name] = sizes.get(file.parent.name, 0) + file.stat().st_size
        return sizes


def find_checkpoint(base: Base, spec: ModelSpec, *, download: bool = True) -> Checkpoint:
    """Locate ``base``, and check its shape.

    Args:
        download: fetch what of a repository is not in the cache.

    Raises:
        CheckpointError: missing, incomplete, or of another model's shape.
    """
    if base.embedded is not None:
        checkpoint = _local(CHECKPOINTS / base.embedded, f"embedded:{base.embedded}")
    elif base.path is not None:
        checkpoint = _local(Path(base.path), Path(base.path).name)
    else:
        checkpoint = _from_hub(str(base.repo), base.revision, download)
    _check_shape(checkpoint.folder, spec)
    return checkpoint


def _local(folder: Path, name: str) -> Checkpoint:
    if not folder.is_dir():
        known = sorted(f"embedded:{entry.name}" for entry in CHECKPOINTS.iterdir() if entry.is_dir())
        raise CheckpointError(
            "base checkpoint does not exist",
            file=folder,
            field="base",
            fix=f"give --base OWNER/NAME, a folder in the hub's layout, or {' or '.join(known)}",
        )
    read_index(folder)
    return Checkpoint(folder, name, fingerprint(folder))


def _from_hub(repo: str, revision: str | None, download: bool) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=["model_index.json", PIPELINE_FILE, "*/*.*"],
                local_files_only=not download,
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{repo} is not in the cache and cannot be downloaded ({reason})",
            field="base.repo",
            fix=f"go online and run: hf download {repo}, or give --base FOLDER",
        ) from error
    return Checkpoint(folder, repo, folder.name, pinned=revision == folder.name)


def fingerprint(folder: Path) -> str:
    """Return ``content:`` and 16 hexadecimal digits over name, size and sampled bytes of what is loaded.

    That is the index, ``pipeline.py`` and the components' folders; a model card beside them changes nothing.
    Files up to 1 MiB are hashed whole; of larger ones, 64 KiB at each of 16 evenly spaced places.
    """
    digest = hashlib.sha256()
    loaded = [folder / "model_index.json", folder / PIPELINE_FILE, *folder.glob("*/**/*")]
    for file in sorted(path for path in loaded if path.is_file() and not path.name.startswith(".")):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= 1 << 20:
                digest.update(stream.read())
                continue
            for place in range(16):
                stream.seek((size - _SAMPLE) * place // 15)
                digest.update(stream.read(_SAMPLE))
    return f"content:{digest.hexdigest()[:16]}"


def pipeline_sha256(checkpoint: Checkpoint) -> str | None:
    """Return the SHA-256 of the checkpoint's own ``pipeline.py``, or None where it ships none."""
    return sha256_file(checkpoint.pipeline_file) if checkpoint.pipeline_file.is_file() else None


def read_index(folder: Path) -> dict[str, Any]:
    """Return ``model_index.json``: library and class of every component.

    Raises:
        CheckpointError: it is missing or not a JSON object.
    """
    return read_json(folder / "model_index.json", "is this a checkpoint in the hub's layout?")


def read_json(file: Path, fix: str = "download the base again") -> dict[str, Any]:
    """Return the JSON object in ``file``.

    Raises:
        CheckpointError: it is missing or holds something else.
    """
    try:
        data = json.loads(read_bytes(file))
    except FileNotFoundError as error:
        raise CheckpointError("does not exist", file=file, fix=fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot be read ({error})", file=file, fix=fix) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"holds {type(data).__name__}, not an object", file=file, fix=fix)
    return data


def _check_libraries(folder: Path, index: dict[str, Any]) -> None:
    """Refuse a component of another library: diffusers would import whatever module an index names."""
    for component, entry in index.items():
        if not component.startswith("_") and isinstance(entry, list) and entry[:1] not in LIBRARIES:
            raise CheckpointError(
                f"found {entry!r}, not a class of diffusers or transformers",
                file=folder / "model_index.json",
                field=component,
                fix="use a base whose components come from these libraries",
            )


def _is_class(entry: object) -> bool:
    """Whether an entry of the index names a library and a class of it."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) for name in entry)


def _check_shape(folder: Path, spec: ModelSpec) -> None:
    index = read_index(folder)
    _check_libraries(folder, index)
    for component in spec.components:
        if not _is_class(index.get(component)):
            raise CheckpointError(
                "component is not listed",
                file=folder / "model_index.json",
                field=component,
                fix="the base must hold " + ", ".join(spec.components),
            )
        if not (folder / component).is_dir():
            raise CheckpointError(
                "component folder is missing", file=folder, field=component, fix="download the base again"
            )
    for component, field, expected in (
        ("transformer", "in_channels", spec.in_channels),
        ("transformer", "guidance_embeds", True),
        ("vae", "latent_channels", spec.latent_channels),
    ):
        file = folder / component / "config.json"
        found = read_json(file).get(field)
        if found != expected:
            raise CheckpointError(
                f"found {found!r}, {spec.name} has {expected!r}",
                file=file,
                field=field,
                fix=f"is this {spec.hub_repo}?",
            )
    for component, alternatives in spec.tokenizer_files.items():
        here = {file.name for file in (folder / component).iterdir() if file.is_file()}
        if not any(here.issuperset(files) for files in alternatives):
            needed = ", or ".join(" and ".join(files) for files in alternatives)
            raise CheckpointError(f"lacks {needed}", file=folder / component, fix="download the base again")
    for component in spec.models:
        if not any((folder / component).glob("*.safetensors")):
            raise CheckpointError(
                "holds no *.safetensors weights", file=folder / component, fix="download the base again"
            )

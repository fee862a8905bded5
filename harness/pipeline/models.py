"""Load a checkpoint's models, each of them complete or not at all.

transformers draws a weight that its file lacks at random, and says so in a log line only; diffusers leaves it
without a value. Here what the library reports, and what arrived, is compared with what the model needs.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness._util.words import some
from harness.errors import CheckpointError
from harness.pipeline.checkpoint import Checkpoint, read_index, read_json
from harness.schema.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

FILE_DTYPES = ("F32", "F16", "BF16")
"""The dtypes of weights that are loaded, by safetensors' names; a file of others was converted."""

HARMLESS = ("position_ids",)
"""Buffers that older versions saved and newer ones compute."""

FIX = "download the base again"


class Header(NamedTuple):
    """One tensor of a weights file."""

    dtype: str
    shape: tuple[int, ...]


def read_headers(folder: Path) -> dict[str, Header]:
    """Return dtype and shape of every weight in ``folder``, by name, from the files' headers alone.

    Raises:
        CheckpointError: a file is not whole safetensors, or an index contradicts its shards.
    """
    files = {file.name: _read_header(file) for file in sorted(folder.glob("*.safetensors"))}
    for index in folder.glob("*.safetensors.index.json"):
        _check_index(index, files)
    return {name: header for headers in files.values() for name, header in headers.items()}


def _read_header(file: Path) -> dict[str, Header]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as weights:
            tensors = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
            return {name: Header(one.get_dtype(), tuple(one.get_shape())) for name, one in tensors.items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot be read ({error})", file=file, fix=FIX) from error


def _check_index(index: Path, files: Mapping[str, Mapping[str, Header]]) -> None:
    """Refuse an index unless each weight of its shards lies in one of them, and where the index says."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError("found no weights", file=index, field="weight_map", fix=FIX)
    said = {(name, str(file)) for name, file in places.items()}
    held = {(name, file) for _, file in said for name in files.get(file, ())}
    if odd := {name for name, _ in said ^ held}:
        found = f"contradicts the files beside it on {len(odd)} weights ({some(odd)})"
        raise CheckpointError(found, file=index, field="weight_map", fix=FIX)


def load_models(checkpoint: Checkpoint, spec: ModelSpec, dtype: torch.dtype) -> dict[str, nn.Module]:
    """Return every model of ``checkpoint`` by the name of its component, on the CPU.

    Raises:
        CheckpointError: a weight is missing, unknown, or of another shape or dtype.
    """
    index = read_index(checkpoint.folder)
    return {name: _load(checkpoint.folder / name, index[name], dtype) for name in spec.models}


def _load(folder: Path, entry: Sequence[str], dtype: torch.dtype) -> nn.Module:
    library, class_name = entry
    headers = read_headers(folder)
    if odd := [name for name in headers if not _is_float(name, headers[name])]:
        found = f"holds weights of dtype {headers[odd[0]].dtype} ({some(odd)})"
        raise CheckpointError(found, file=folder, fix="weights must be one of " + ", ".join(FILE_DTYPES))
    try:
        cls: Any = getattr(importlib.import_module(library), class_name)
        model, report = cls.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **({"ignore_mismatched_sizes": True} if library == "transformers" else {}),  # reports them then
        )
    except Exception as error:  # a library reads a foreign file here and may raise anything
        found = f"cannot be loaded ({type(error).__name__}: {error})"
        raise CheckpointError(" ".join(found.split()), file=folder, fix=FIX) from error
    _check_report(folder, library, report)
    _check_arrived(folder, model, dtype)
    return model  # type: ignore[no-any-return]


def _is_float(name: str, header: Header) -> bool:
    return header.dtype in FILE_DTYPES or name.endswith(HARMLESS)


def _check_report(folder: Path, library: str, report: dict[str, Any]) -> None:
    """Refuse what the library itself says of weights that it did not find, know or use."""
    unknown = [key for key in report["unexpected_keys"] if not str(key).endswith(HARMLESS)]
    mismatched = [key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]]
    kinds = {"missing": report["missing_keys"], "unknown": unknown, "of another shape": mismatched}
    parts = [f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names]
    parts += [str(message) for message in report["error_msgs"]]
    if parts:
        version = importlib.metadata.version(library)
        found = f"is not complete: {library} {version} reports weights {', '.join(parts)}"
        raise CheckpointError(" ".join(found.split()), file=folder, fix=FIX)


def _check_arrived(folder: Path, model: nn.Module, dtype: torch.dtype) -> None:
    """Refuse weights that have no value, or another dtype than asked for and than the model keeps in fp32."""
    import torch

    keeps = {*(getattr(model, "_keep_in_fp32_modules", None) or ())}
    for name, weight in model.named_parameters():
        kept = weight.dtype == torch.float32 and not keeps.isdisjoint(name.split("."))
        if weight.is_meta or not (weight.dtype == dtype or kept):
            found = "has no value" if weight.is_meta else f"was loaded as {weight.dtype}, not {dtype}"
            raise CheckpointError(found, file=folder, field=name, fix=FIX)


def check_finite(checkpoint: Checkpoint, models: Mapping[str, nn.Module]) -> None:
    """Refuse models with a weight that is not finite: whatever it touches becomes one black picture.

    Raises:
        CheckpointError: names the first of them.
    """
    for component, model in models.items():
        for name, weight in model.named_parameters():
            if not weight.is_meta and not weight.isfinite().all():
                fix = f"{FIX}, or choose another dtype"
                raise CheckpointError(
                    f"is not finite as {weight.dtype}",
                    file=checkpoint.folder / component,
                    field=name,
                    fix=fix,
                )

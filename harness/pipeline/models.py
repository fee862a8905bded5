"""Load a checkpoint's models, each of them complete or not at all.

transformers draws a weight that its file lacks at random, and says so in a log line only; diffusers leaves it
without a value. Here what the library reports, and what arrived, is compared with what the model needs.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import CheckpointError
from harness.pipeline.checkpoint import Checkpoint, read_index
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
        CheckpointError: a file is not whole safetensors.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Header] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118
                    tensor = weights.get_slice(name)
                    found[name] = Header(tensor.get_dtype(), tuple(tensor.get_shape()))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot be read ({error})", file=file, fix=FIX) from error
    return found


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
        found = f"holds weights of dtype {headers[odd[0]].dtype} ({_some(odd)})"
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
    parts = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
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


def _some(names: Iterable[object], limit: int = 3) -> str:
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more

"""A model's weights as they lie in its checkpoint's files, to be read again instead of kept beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from harness._util.atomic_files import disk_errors_as
from harness._util.real_paths import real_path
from harness._util.unchanged_files import State, file_state, settled_state
from harness.errors import CheckpointError
from harness.pipeline.copying import FileBytes, copy_all
from harness.pipeline.mapped_files import unwritten_places

FIX = "repeat the command"


class Stored(NamedTuple):
    """Where the bytes of one weight lie, and what is different once its file is written to or replaced."""

    file: Path
    begin: int
    state: State


def stored_in(folder: Path, model: nn.Module) -> dict[str, Stored]:
    """Return by name the weights of ``model`` that are, bit for bit, what a file in ``folder`` holds.

    They still lie where a library mapped them. Left out is what was cast or written to since, and a file
    that was written less than 2 s ago: another write might not show in its times.
    """
    try:
        files = {str(real_path(file)): settled_state(file) for file in folder.glob("*.safetensors")}
    except OSError:
        return {}
    weights = {name: weight.data for name, weight in model.named_parameters() if weight.is_contiguous()}
    places = unwritten_places(weights.values(), {file for file, state in files.items() if state is not None})
    found = {}
    for name, weight in weights.items():
        file, begin = places.get(id(weight), ("", 0))
        if (state := files.get(file)) is not None:
            found[name] = Stored(Path(file), begin, state)
    return found


def read_stored(pairs: Iterable[tuple[Stored, Tensor]]) -> None:
    """Read each weight into the tensor beside it, which is contiguous and has its dtype and shape.

    Raises:
        CheckpointError: a file was written to, replaced or removed since it was loaded. Some of the tensors
            may be written to by then.
    """
    found = list(pairs)
    states = {stored.file: stored.state for stored, _ in found}
    with ExitStack() as opened:
        streams = {}
        for file in states:
            with disk_errors_as(CheckpointError, "cannot be read again", file=file, fix=FIX):
                streams[file] = opened.enter_context(file.open("rb", 0))
        _check_unchanged(states)
        try:
            copy_all((FileBytes(streams[at.file].fileno(), at.begin), tensor) for at, tensor in found)
        except OSError as error:
            _check_unchanged(states)
            folder = found[0][0].file.parent
            raise CheckpointError(f"cannot be read again ({error})", file=folder, fix=FIX) from error
        _check_unchanged(states)


def _check_unchanged(states: Mapping[Path, State]) -> None:
    for file, state in states.items():
        with disk_errors_as(CheckpointError, "cannot be read again", file=file, fix=FIX):
            now = file_state(file)
        if now != state:
            raise CheckpointError("was changed after it was loaded", file=file, fix=FIX)

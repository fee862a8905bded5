"""The system under test that renders a run in place of the reference pipeline: a server, or ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.runs.plan import RunOptions
from harness.schema.spec import MODELS

if TYPE_CHECKING:
    from harness.systems.comfy_renderer import ComfyRenderer
    from harness.systems.server_client import ServedModel, ServerClient
    from harness.systems.server_renderer import ServerRenderer

_OURS = {
    "pipeline": "--pipeline", "base": "--base", "dtype": "--dtype", "gpus": "--gpus", "ray": "--ray",
}  # fmt: skip
"""Options of a render in this process; a comparison with the reference takes the first three."""


@contextmanager
def tested_system(options: RunOptions) -> Iterator[ServerRenderer | ComfyRenderer]:
    """Return a renderer for the system that ``options`` name, after asking it what it is.

    Raises:
        HarnessError: the options contradict each other.
        ServerError: the system cannot be reached, or serves no model that is known here.
    """
    option = "--server" if options.server is not None else "--comfy"
    _refuse_contradictions(options, option)
    if options.server is not None:
        from harness.systems.server_client import ServerClient
        from harness.systems.server_renderer import ServerRenderer

        with closing(ServerClient(options.server, options.server_header)) as client:
            yield ServerRenderer(client, _known_models(client), Path(options.server_root or "/"))
    else:
        from harness.systems.comfy_client import ComfyClient
        from harness.systems.comfy_graph import loader_files
        from harness.systems.comfy_renderer import ComfyRenderer

        files = loader_files(options.comfy_file)
        with closing(ComfyClient(str(options.comfy), options.server_header)) as comfy:
            yield ComfyRenderer(comfy, files)


def _refuse_contradictions(options: RunOptions, option: str) -> None:
    if options.server is not None and options.comfy is not None:
        raise HarnessError("cannot be combined with --server", field="--comfy", fix="give one of the two")
    for name, ours in _OURS.items():
        local = options.against_reference and name in {"pipeline", "base", "dtype"}
        if getattr(options, name) and not local:
            fix = "leave it out; the server decides that"
            raise HarnessError(f"cannot be combined with {option}", field=ours, fix=fix)


def _known_models(client: ServerClient) -> dict[str, ServedModel]:
    served = client.models()
    known = {name: model for name, model in served.items() if name in MODELS}
    if not known:
        found = f"serves none of {', '.join(MODELS)}, only {', '.join(served) or 'nothing'}"
        raise client.error(found, fix="the cases need one of them")
    return known

"""A reference server as the machine that renders a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.runs.plan import RunOptions
from harness.schema.spec import FLEX2

if TYPE_CHECKING:
    from harness.systems.http_server import ServerRenderer

_OURS = {
    "pipeline": "--pipeline", "base": "--base", "dtype": "--dtype", "gpus": "--gpus", "ray": "--ray",
}  # fmt: skip
"""Options of a render in this process; a comparison with the reference takes the first three."""


@contextmanager
def server_renderer(options: RunOptions) -> Iterator[ServerRenderer]:
    """Return a renderer for the server that ``options`` name, after asking it for its model.

    Raises:
        HarnessError: the options contradict each other.
        ServerError: the server cannot be reached, or does not serve the model.
    """
    from harness.systems.http_server import ServerRenderer
    from harness.systems.server_client import ServerClient

    for name, option in _OURS.items():
        local = options.against_reference and name in {"pipeline", "base", "dtype"}
        if getattr(options, name) and not local:
            fix = "leave it out; the server decides that"
            raise HarnessError("cannot be combined with --server", field=option, fix=fix)
    assert options.server is not None
    with closing(ServerClient(options.server, options.server_header)) as client:
        yield ServerRenderer(client, client.model(FLEX2.name), FLEX2, options.server_root or Path("/"))

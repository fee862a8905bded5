"""The HTTP API of the reference server, one method for each endpoint.

Source: ``runcomfy-com/ai-toolkit-inference``, ``docs/api/index.md`` and ``src/api/v1/inference.py``. The
server keeps requests in memory: after a restart it answers 404 for those that it had taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from harness.schema.server_result import ServerResult
from harness.systems.http_connection import NOT_FOUND, PATIENCE_SECONDS, Answer, HttpConnection


class ServedModel(Answer):
    """A model of ``GET /v1/models``; the divisor is in pixels."""

    id: str
    base_model: str
    resolution_divisor: int | None = None


class ServedModels(Answer):
    """The answer of ``GET /v1/models``."""

    models: list[ServedModel]


class Submitted(Answer):
    """The answer of ``POST /v1/inference``."""

    request_id: str = Field(pattern=r"^[\w.-]+$")


class ServerClient(HttpConnection):
    """Talks to one server; see ``HttpConnection``."""

    def __init__(self, url: str, headers: Sequence[str] = (), *, patience: float = PATIENCE_SECONDS) -> None:
        super().__init__(url, headers, "--server", patience)

    def models(self) -> dict[str, ServedModel]:
        """Return what the server serves, by id; a server that is away is not waited for."""
        served = self.read(ServedModels, self.send_once("GET", "/v1/models"))
        return {model.id: model for model in served.models}

    def submit(self, body: dict[str, Any]) -> str:
        """Hand in a request and return its id."""
        return self.read(Submitted, self.send("POST", "/v1/inference", json=body)).request_id

    def result(self, request_id: str) -> ServerResult | None:
        """Return where a request stands, and its images once it ended; None if the server has forgotten it.

        The endpoint for the status alone says no more, and would be a second call.
        """
        answer = self.send("GET", f"/v1/requests/{request_id}/result")
        return None if answer.status_code == NOT_FOUND else self.read(ServerResult, answer)

    def download(self, url: str) -> bytes:
        """Return the bytes of a file at a URL of this server."""
        answer = self.send("GET", url)
        if answer.status_code == NOT_FOUND:
            raise self.error(f"has no {url}")
        return answer.content

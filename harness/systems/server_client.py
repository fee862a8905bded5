"""The HTTP API of the reference server, one method for each endpoint.

Source: ``runcomfy-com/ai-toolkit-inference``, ``docs/api/index.md`` and ``src/api/v1/inference.py``. The
server keeps requests in memory: after a restart it answers 404 for those that it had taken.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
)

from harness._util.redaction import HIDDEN
from harness.errors import ServerError

PATIENCE_SECONDS = 60.0
"""How long a server that is away, or answers with 5xx, is asked again."""

TIMEOUT_SECONDS = 30.0
"""For one HTTP request."""

TOO_MANY_REQUESTS, NOT_FOUND = 429, 404

_log = logging.getLogger(__name__)


class Answer(BaseModel):
    """A JSON answer; fields that we do not use are passed over."""

    model_config = ConfigDict(frozen=True)


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


class ImageOutput(Answer):
    """An image that was rendered: size in pixels, the seed that was drawn, and its file on the server."""

    width: int
    height: int
    seed: int
    file_path: str


class Outputs(Answer):
    """What a request made."""

    images: list[ImageOutput] = Field(default_factory=list)


class Result(Answer):
    """Where a request stands, and what it made.

    The status is ``queued`` or ``in_queue``, ``in_progress``, then ``succeeded``, ``failed`` or ``canceled``.
    """

    status: str
    error: str | None = None
    outputs: Outputs | None = None

    @property
    def ended(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in {"succeeded", "failed", "canceled"}


AnswerType = TypeVar("AnswerType", bound=Answer)


class _UnavailableError(Exception):
    """The server did not answer, or answered that it cannot now."""


class ServerClient:
    """Talks to one server; every method raises ``ServerError`` where it refuses, or stays away.

    Args:
        url: its address, ``http://HOST:PORT``.
        headers: ``NAME=VARIABLE``: header NAME gets the value of that environment variable, never stored.
        patience: seconds for which a server that is away is asked again.

    Raises:
        ServerError: not an address, or a variable that is not set.
    """

    def __init__(self, url: str, headers: Sequence[str] = (), *, patience: float = PATIENCE_SECONDS) -> None:
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, TypeError) as error:
            raise ServerError(f"{url!r} is no address ({error})", field="--server") from error
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ServerError(f"{url!r} is no address", field="--server", fix="give http://HOST:PORT")
        values = dict(_header(each) for each in headers)
        self._secrets = [value for value in (*values.values(), parsed.password) if value]
        self._patience = patience
        self._http = httpx2.Client(base_url=parsed, headers=values, timeout=TIMEOUT_SECONDS)
        self.host = parsed.host if parsed.port is None else f"{parsed.host}:{parsed.port}"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def model(self, name: str) -> ServedModel:
        """Return the model called ``name``; a server that is away is not waited for.

        Raises:
            ServerError: it does not serve that model.
        """
        served = self._read(ServedModels, self._once("GET", "/v1/models"))
        for model in served.models:
            if model.id == name:
                return model
        raise self._error(
            f"serves no {name}, only {', '.join(model.id for model in served.models) or 'nothing'}"
        )

    def submit(self, body: dict[str, Any]) -> str:
        """Hand in a request and return its id."""
        return self._read(Submitted, self._send("POST", "/v1/inference", json=body)).request_id

    def result(self, request_id: str) -> Result | None:
        """Return where a request stands, and its images once it ended; None if the server has forgotten it.

        The endpoint for the status alone says no more, and would be a second call.
        """
        answer = self._send("GET", f"/v1/requests/{request_id}/result")
        return None if answer.status_code == NOT_FOUND else self._read(Result, answer)

    def serves(self, url: str) -> bool:
        """Say whether a URL is on this very server: others must not be sent its headers."""
        try:
            asked, own = httpx2.URL(url), self._http.base_url
        except httpx2.InvalidURL:
            return False
        return (asked.scheme, asked.host, asked.port) == (own.scheme, own.host, own.port)

    def download(self, url: str) -> bytes:
        """Return the bytes of a file at a URL of this server."""
        answer = self._send("GET", url)
        if answer.status_code == NOT_FOUND:
            raise self._error(f"has no {url}")
        return answer.content

    def _send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """Send one request; again for as long as the server is away or overloaded."""
        attempts = Retrying(
            stop=stop_after_delay(self._patience),
            wait=wait_exponential(multiplier=0.05, max=5),
            retry=retry_if_exception_type(_UnavailableError),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            return attempts(self._try, method, path, **content)
        except _UnavailableError as error:
            fix = "repeat the command when it is back: finished rows are kept"
            raise self._error(f"was away for {self._patience:g} s ({error})", fix=fix) from error

    def _once(self, method: str, path: str) -> httpx2.Response:
        try:
            return self._try(method, path)
        except _UnavailableError as error:
            raise self._error(f"cannot be reached ({error})", fix="is it running?") from error

    def _try(self, method: str, path: str, **content: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **content)
        except httpx2.TransportError as error:
            raise _UnavailableError(f"{type(error).__name__}: {error}") from error
        if answer.is_server_error or answer.status_code == TOO_MANY_REQUESTS:
            raise _UnavailableError(f"it answered {answer.status_code}")
        if not answer.is_success and answer.status_code != NOT_FOUND:
            raise self._error(f"refuses {method} {path} with {answer.status_code}: {_said(answer)}")
        return answer

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        _log.info("the server %s is away (%s), attempt %d", self.host, error, state.attempt_number)

    def _read(self, kind: type[AnswerType], answer: httpx2.Response) -> AnswerType:
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            place = answer.request.url.path
            raise self._error(f"answered {place} with something else than the API describes") from error

    def _error(self, found: str, *, fix: str | None = None) -> ServerError:
        for secret in self._secrets:
            found = found.replace(secret, HIDDEN)
        return ServerError(found, file=f"server {self.host}", fix=fix)


def _header(text: str) -> tuple[str, str]:
    name, _, variable = text.partition("=")
    value = os.environ.get(variable.strip(), "")
    if not name.strip() or not value:
        found = f"variable {variable.strip()!r} is not set" if variable else f"found {text!r}"
        raise ServerError(found, field="--server-header", fix="give NAME=VARIABLE, a variable that is set")
    return name.strip(), value


def _said(answer: httpx2.Response) -> str:
    """Return the code and message of an error answer, or the start of what came instead."""
    try:
        error = answer.json()["detail"]["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, LookupError, TypeError):
        return answer.text[:200]

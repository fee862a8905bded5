"""HTTP to one system under test: headers, patience, bounded answers, and errors that hide secrets."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError
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

MAX_ANSWER_BYTES = 256 * 2**20
"""Largest answer that is read: a lossless image of 4096 × 4096 pixels has 48 MiB."""

MAX_SHOWN = 200
"""Characters of a server's own words that an error repeats."""

TOO_MANY_REQUESTS, NOT_FOUND = 429, 404
MAX_PORT = 65535

_log = logging.getLogger(__name__)


class Answer(BaseModel):
    """A JSON answer; fields that we do not use are passed over."""

    model_config = ConfigDict(frozen=True)


AnswerType = TypeVar("AnswerType", bound=BaseModel)


class _UnavailableError(Exception):
    """The server did not answer, or answered that it cannot now."""


class HttpConnection:
    """Talks to one server; every method raises ``ServerError`` where it refuses, or stays away.

    Args:
        url: its address, ``http://HOST:PORT``.
        headers: ``NAME=VARIABLE``: header NAME gets the value of that environment variable, never stored.
        option: the option that names the address, for errors.
        patience: seconds for which a server that is away is asked again.

    Raises:
        ServerError: not an address, or a variable that is not set.
    """

    def __init__(self, url: str, headers: Sequence[str], option: str, patience: float) -> None:
        parsed = _address(url, option)
        values = dict(_header(each) for each in headers)
        self._secrets = [value for value in (*values.values(), parsed.password) if value]
        self._patience = patience
        self._http = httpx2.Client(base_url=parsed, headers=values, timeout=TIMEOUT_SECONDS)
        self.host = parsed.netloc.decode("ascii")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def serves(self, url: str) -> bool:
        """Say whether a URL is on this very server: others must not be sent its headers."""
        try:
            asked, own = httpx2.URL(url), self._http.base_url
        except httpx2.InvalidURL:
            return False
        return (asked.scheme, asked.host, asked.port) == (own.scheme, own.host, own.port)

    def send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """Send one request; again for as long as the server is away or overloaded. 404 is an answer."""
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
            raise self.error(f"was away for {self._patience:g} s ({error})", fix=fix) from error

    def send_once(self, method: str, path: str) -> httpx2.Response:
        """Send one request; a server that is away is not waited for."""
        try:
            return self._try(method, path)
        except _UnavailableError as error:
            raise self.error(f"cannot be reached ({error})", fix="is it running at this address?") from error

    def read(self, kind: type[AnswerType], answer: httpx2.Response) -> AnswerType:
        """Return the JSON of an answer as ``kind``."""
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            place, sent = answer.request.url.path, answer.headers.get("Content-Type", "no content type")
            found = f"answered {place} with something else than the API describes ({sent[:MAX_SHOWN]})"
            raise self.error(found, fix="does this address belong to such a server?") from error

    def describe(self, answer: httpx2.Response) -> str:
        """Return what an error answer says: its code and message, or the start of what came instead."""
        try:
            error = answer.json()["detail"]["error"]
            return f"{error['code']}: {error['message']}"[:MAX_SHOWN]
        except (ValueError, LookupError, TypeError):
            return " ".join(answer.text[:MAX_SHOWN].split())

    def error(self, found: str, *, fix: str | None = None) -> ServerError:
        """Return an error that names the server, without the values of its headers."""
        for secret in self._secrets:
            found = found.replace(secret, HIDDEN)
        return ServerError(found, file=f"server {self.host}", fix=fix)

    def _try(self, method: str, path: str, **content: Any) -> httpx2.Response:
        try:
            answer = self._bounded(method, path, **content)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _UnavailableError(f"{type(error).__name__}: {error}") from error
        if answer.is_server_error or answer.status_code == TOO_MANY_REQUESTS:
            raise _UnavailableError(f"it answered {answer.status_code}")
        if answer.has_redirect_location:
            fix = "give that address, if you trust it"
            raise self.error(f"sends {path} on to {answer.headers['Location'][:MAX_SHOWN]}", fix=fix)
        if not answer.is_success and answer.status_code != NOT_FOUND:
            raise self.error(f"refuses {method} {path} with {answer.status_code}: {self.describe(answer)}")
        return answer

    def _bounded(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """Return an answer with its content, of which only so much is read."""
        with self._http.stream(method, path, **content) as answer:
            parts, size = [], 0
            for part in answer.iter_bytes():
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise self.error(f"answered {path} with more than {MAX_ANSWER_BYTES >> 20} MiB")
                parts.append(part)
        headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
        return httpx2.Response(
            answer.status_code, headers=headers, content=b"".join(parts), request=answer.request
        )

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        _log.info("the server %s is away (%s), attempt %d", self.host, error, state.attempt_number)


def _address(url: str, option: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise ServerError(f"{url!r} is no address ({error})", field=option) from error
    usable = re.fullmatch(r"[\w.:-]+", parsed.host) and (parsed.port or 0) <= MAX_PORT
    if parsed.scheme not in {"http", "https"} or not usable:
        raise ServerError(f"{url!r} is no address", field=option, fix="give http://HOST:PORT")
    return parsed


def _header(text: str) -> tuple[str, str]:
    name, _, variable = (part.strip() for part in text.partition("="))
    value, fix = os.environ.get(variable, ""), "give NAME=VARIABLE, a variable that is set"
    if not name or not value:
        found = f"variable {variable!r} is not set" if variable else f"found {text!r}"
        raise ServerError(found, field="--server-header", fix=fix)
    if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
        raise ServerError(f"{name!r} is no name of a header", field="--server-header", fix=fix)
    if not (value.isascii() and value.isprintable()):
        found = f"the value of {variable!r} holds characters that no header may"
        raise ServerError(found, field="--server-header", fix="is there a line break at its end?")
    return name, value

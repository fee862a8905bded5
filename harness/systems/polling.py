"""How often a system under test is asked whether a render has ended, and how often a lost one is sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import ServerError

MAX_SENDINGS = 20
"""How often one request is sent to a system that forgets it."""

MAX_RENDER_SECONDS = 3600.0
"""After so long a request that is still under way has failed."""

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.002, 0.5
POLL_SHARE = 0.005
"""The pause between two polls, as a share of the time since the request was sent."""

Ended = TypeVar("Ended")

_log = logging.getLogger(__name__)


def sent_until_ended(send: Callable[[], Ended | None], host: str) -> Ended:
    """Return what came of a request, which is sent again while the system at ``host`` forgets it.

    Args:
        send: sends it once and waits; returns None where the system knows nothing of it any more.

    Raises:
        ServerError: it was forgotten ``MAX_SENDINGS`` times.
    """
    for sending in range(1, MAX_SENDINGS + 1):
        ended = send()
        if ended is not None:
            return ended
        _log.info("%s forgot a request, sending %d", host, sending)
    raise ServerError(f"forgot a request {MAX_SENDINGS} times", file=f"server {host}")


def pause(elapsed: float) -> None:
    """Wait until a request that was sent ``elapsed`` seconds ago is asked about again."""
    time.sleep(min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, POLL_SHARE * elapsed)))

"""How often a system under test is asked whether a render has ended, and how often a lost one is sent."""

from __future__ import annotations

import time

MAX_SENDINGS = 20
"""How often one request is sent to a system that forgets it."""

MAX_RENDER_SECONDS = 3600.0
"""After so long a request that is still under way has failed."""

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.002, 0.5
POLL_SHARE = 0.005
"""The pause between two polls, as a share of the time since the request was sent."""


def pause(elapsed: float) -> None:
    """Wait until a request that was sent ``elapsed`` seconds ago is asked about again."""
    time.sleep(min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, POLL_SHARE * elapsed)))

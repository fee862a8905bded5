"""What a call raises that writes to a full disk."""

from __future__ import annotations

import errno
import os
from typing import NoReturn


def full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

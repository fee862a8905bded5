"""What optional packages log at import stays out of the terminal; their errors do not."""

from __future__ import annotations

import logging

import pytest

from harness._util.quiet_libraries import quiet_libraries


def test_warnings_of_talkative_libraries_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    quiet_libraries()
    for name in ("bitsandbytes", "bitsandbytes.cextension", "torch.utils._pytree"):
        logging.getLogger(name).warning("no kernels here")
    logging.getLogger("diffusers").warning("this is said")
    logging.getLogger("bitsandbytes").error("and this")
    assert [record.getMessage() for record in caplog.records] == ["this is said", "and this"]

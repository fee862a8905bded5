"""Silence what libraries log at import, of kernels and formats that this machine does not have."""

from __future__ import annotations

import logging

_TALKATIVE = (
    "bitsandbytes",
    "diffusers.quantizers.torchao.torchao_quantizer",
    "torch.utils._pytree",
    "torch.utils.cpp_extension",
)


def quiet_libraries() -> None:
    """Let these libraries log errors alone from now on; none of them is imported for it."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)

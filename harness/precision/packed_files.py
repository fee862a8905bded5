"""Files whose weights a library has packed in a way that an audit does not unpack, told by their keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.errors import CheckpointError

_PACKED = (
    (".wscales", "as nunchaku's SVDQuant packs them", None),
    ("._data", "as optimum-quanto packs them", "qfloat8"),
    (".quant_state.bitsandbytes__nf4", "in bitsandbytes' nf4", "nf4"),
    (".quant_state.bitsandbytes__fp4", "in bitsandbytes' fp4", None),
    (".SCB", "in bitsandbytes' 8 bits", "bnb_int8"),
    (".weight_scale_2", "in nvfp4", "nvfp4"),
    (".weight_scale_inv", "in float8 with a scale for each block", None),
    (".crn_qdata", "as AI Toolkit's convrot quantizers pack them", "convrotint4"),
    (".orbit_packed", "as AI Toolkit's orbit quantizers pack them", "orbit4"),
)
"""How a key of a block ends, what that says of the weights, and a quantizer of ours that rounds likewise."""
_BLOCKS = ("transformer_blocks.", "double_blocks.", "single_blocks.")


def refuse_packed(base: Path, names: Iterable[str]) -> None:
    """Check that no weight of the blocks is packed by a library.

    Args:
        names: of all tensors of the base.

    Raises:
        CheckpointError: one is; names its key and the quantizer to audit the unquantized base with.
    """
    for name in names:
        if not any(block in name for block in _BLOCKS):
            continue
        for end, how, quantizer in _PACKED:
            if name.endswith(end):
                way = f" with --quantize {quantizer}" if quantizer else ""
                fix = f"audit the unquantized base{way}"
                raise CheckpointError(f"holds weights {how}", file=base, field=name, fix=fix)

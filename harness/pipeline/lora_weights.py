"""A LoRA's weights for diffusers, read and not mapped.

diffusers maps the file. Its pages are then read one by one while each weight is copied, on some machines for
seconds.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch

from harness._util.atomic_files import disk_errors_as
from harness.errors import LoraError
from harness.pipeline.copying import PIECE
from harness.precision.weights_file import DTYPES
from harness.schema.lora_file import ADAPTER_METADATA, LoraFile

_OLD = re.compile(r"\.lora\.(?=(down|up)\.weight$)")
"""In a key that diffusers converts later than it does ``lora_down``, which means the same."""


def lora_source(lora: LoraFile, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return arguments for ``load_lora_weights`` or ``lora_state_dict``, for the same bits as of the file.

    Weights say nothing of the header: where diffusers reads it, this names the file.

    Args:
        device: where the weights are wanted; those that diffusers converts stay in main memory.

    Raises:
        LoraError: the file cannot be read, or became shorter since it was checked.
    """
    if ADAPTER_METADATA in lora.metadata:
        source: Any = str(lora.path.parent)
        named = {"weight_name": lora.path.name, "local_files_only": True}
    else:
        weights = read_weights(lora, device if lora.form == "peft" else "cpu")
        source, named = {_OLD.sub(".lora_", key): weight for key, weight in weights.items()}, {}
    return {"pretrained_model_name_or_path_or_dict": source, **named}


def read_weights(lora: LoraFile, device: torch.device | str) -> dict[str, torch.Tensor]:
    """Return every tensor of the file, in the order of its bytes; single numbers, as alpha, in main memory.

    Raises:
        LoraError: as ``lora_source``.
    """
    buffer = torch.empty(PIECE, dtype=torch.uint8, pin_memory=torch.device(device).type == "cuda")
    found = {}
    with disk_errors_as(LoraError, "cannot be read", file=lora.path), lora.path.open("rb", 0) as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little"))
        for key, tensor in lora.tensors.items():
            dtype = getattr(torch, DTYPES[tensor.dtype][1])
            place = device if math.prod(tensor.shape) > 1 else "cpu"
            there = torch.empty(tensor.shape, dtype=dtype, device=place)
            for piece in there.view(-1).view(torch.uint8).split(PIECE):  # type: ignore[no-untyped-call]
                held = buffer[: piece.numel()]
                if stream.readinto(held.numpy().data) != held.numel():
                    raise LoraError("became shorter while it was read", file=lora.path, fix="copy it again")
                piece.copy_(held)
            found[key] = there
    return found

"""Whether a LoRA is of a base's shape, by file headers alone."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import LoraError
from harness.pipeline.checkpoint import Checkpoint
from harness.pipeline.models import read_headers
from harness.schema.lora_file import LoraFile

Shapes = Mapping[str, tuple[int, ...]]


def transformer_shapes(checkpoint: Checkpoint) -> Shapes:
    """Return the shape of every transformer weight by its name, from headers alone.

    Raises:
        CheckpointError: a weights file is not whole safetensors.
    """
    headers = read_headers(checkpoint.folder / "transformer")
    return {name: header.shape for name, header in headers.items()}


def check_lora_shapes(lora: LoraFile, shapes: Shapes) -> None:
    """Refuse a LoRA with a module that the transformer lacks or has in another shape.

    diffusers drops unknown modules without a word, and widens ``x_embedder`` to fit a wider LoRA.

    Raises:
        LoraError: names the first modules that do not fit.
    """
    misfits = []
    for module, (_, in_features, out_features) in lora.modules.items():
        shape = shapes.get(f"{module}.weight")
        if shape is None:
            misfits.append(f"{module} (unknown)")
        elif shape != (out_features, in_features):
            misfits.append(
                f"{module} ({out_features}×{in_features}, the base has {'×'.join(map(str, shape))})"
            )
    if misfits:
        raise LoraError(
            f"{len(misfits)} of {len(lora.modules)} modules do not fit the base: {', '.join(misfits[:3])}",
            file=lora.path,
            fix="was it trained on this base?",
        )

"""Whether a LoRA is of a base's shape, by file headers alone."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import CheckpointError, LoraError
from harness.pipeline.checkpoint import Checkpoint
from harness.schema.lora_file import LoraFile

Shapes = Mapping[str, tuple[int, ...]]


def transformer_shapes(checkpoint: Checkpoint) -> Shapes:
    """Return the shape of every transformer weight by its name, from headers alone.

    Raises:
        CheckpointError: a weights file is not whole safetensors.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted((checkpoint.folder / "transformer").glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as weights:
                shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"cannot be read ({error})", file=file, fix="download the base again"
            ) from error
    return shapes


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

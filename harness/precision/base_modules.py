"""Which rows of a base's files are the weight of which transformer module, in either naming.

diffusers has one weight for each linear layer; files for ComfyUI join some of them, as Black Forest Labs do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import CheckpointError
from harness.precision.packed_files import refuse_packed
from harness.precision.weights_file import StoredWeight, stored_weights
from harness.schema.lora_forms import LINEAR1_PARTS, OUTSIDE, parts_of

_PREFIXES = re.compile(r"^(model\.diffusion_model\.|diffusion_model\.|transformer\.)")
_BLOCK = re.compile(r"(?P<kind>double|single)_blocks\.(?P<index>\d+)\.(?P<part>.+)")
_SCALES = ("scale_weight", "weight_scale")


@dataclass(frozen=True)
class ModuleWeight:
    """The weight of one module: some rows of a stored tensor, and the tensor of its scale, if any."""

    stored: StoredWeight
    first_row: int
    rows: int
    scale: StoredWeight | None = None

    @property
    def columns(self) -> int:
        """Input features."""
        return self.stored.shape[1]


def base_modules(base: Path) -> dict[str, ModuleWeight]:
    """Return the weight of every module by diffusers' name.

    Raises:
        CheckpointError: as ``stored_weights``; a library has packed the weights; or no key is a
            transformer's of this kind.
    """
    stored = {_PREFIXES.sub("", name): weight for name, weight in stored_weights(base).items()}
    refuse_packed(base, stored)
    found = dict(_modules(stored))
    if not any("transformer_blocks." in name and ".lora_" not in name for name in found):
        fix = "give the file of Flex.2's transformer, for ComfyUI or diffusers"
        raise CheckpointError("holds no block of a Flex.2 transformer", file=base, field="--base", fix=fix)
    return found


def _modules(stored: Mapping[str, StoredWeight]) -> Iterator[tuple[str, ModuleWeight]]:
    for name, weight in stored.items():
        if not name.endswith(".weight") or len(weight.shape) != 2:
            continue
        source = name.removesuffix(".weight")
        scale = next((stored[f"{source}.{end}"] for end in _SCALES if f"{source}.{end}" in stored), None)
        if scale is not None and weight.dtype.startswith("F8") and scale.size not in {1, weight.shape[0]}:
            found = f"has a scale of shape {list(scale.shape)} for a weight of {list(weight.shape)}"
            fix = "audit reads one scale for a weight, or one for each row"
            raise CheckpointError(found, file=weight.file, field=source, fix=fix)
        first = 0
        for module, rows in _split(source, weight):
            yield module, ModuleWeight(weight, first, rows, scale)
            first += rows


def _split(source: str, weight: StoredWeight) -> list[tuple[str, int]]:
    """Return modules and their rows, in the order of the rows."""
    rows = weight.shape[0]
    block = _BLOCK.fullmatch(source)
    if block is None:
        return [(OUTSIDE.get(source, source), rows)]
    modules = parts_of(block["kind"], int(block["index"]), block["part"].replace(".", "_"))
    if len(modules) == LINEAR1_PARTS:
        hidden = weight.shape[1]
        return list(zip(modules, (hidden, hidden, hidden, rows - 3 * hidden), strict=True))
    return [(module, rows // len(modules)) for module in modules]

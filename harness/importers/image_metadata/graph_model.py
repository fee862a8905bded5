"""The chain of nodes that a ComfyUI model comes through: loader, LoRAs, sampling, conditioner."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.importers.image_metadata.graph import Node
from harness.importers.image_metadata.inference_settings import LoraUse, shown
from harness.importers.image_metadata.low_precision import (
    LowPrecision,
    of_file,
    of_weight_dtype,
    unpacking_of,
)
from harness.importers.image_metadata.node_values import NodeValues

LORA_TAG = re.compile(r"<lora:([^:<>]{1,300}):(-?\d{0,4}\.?\d{1,6})(?::[^<>]{0,40})?>", re.IGNORECASE)
_FLEXTOOLS = "Flex2Conditioner"
_MODEL_FILES: Mapping[str, str] = MappingProxyType({
    "UNETLoader": "unet_name", "CheckpointLoaderSimple": "ckpt_name", "CheckpointLoader": "ckpt_name",
    "UnetLoaderGGUF": "unet_name", "UnetLoaderGGUFAdvanced": "unet_name",
    "CheckpointLoaderNF4": "ckpt_name", "DiffusionModelLoaderKJ": "model_name",
    "CheckpointLoader|pysssss": "ckpt_name", "Load Diffusion Model": "unet_name",
})  # fmt: skip
_ONE_LORA = frozenset({
    "LoraLoader", "LoraLoaderModelOnly", "FlexLoraLoader", "FlexLoraLoaderModelOnly",
    "LoraLoader|pysssss", "LoraLoaderBypass", "LoraLoaderBypassModelOnly",
})  # fmt: skip
_HARMLESS = frozenset({"ModelSamplingFlux", _FLEXTOOLS, "TorchCompileModel", "TorchCompileModelFluxAdvanced"})
_STACK_LIMIT = 50


def lora_tags(prompt: str) -> list[tuple[str, float]]:
    """Return name and strength of the ``<lora:NAME:STRENGTH>`` tags in a text."""
    return [(name, float(strength)) for name, strength in LORA_TAG.findall(prompt)]


class ModelChain:
    """Follows the input ``model`` of a node back to the file that was loaded, noting what lies between."""

    def __init__(self, values: NodeValues) -> None:
        self._values = values
        self._settings = values.settings
        self.loras: list[LoraUse] = []
        self.whole = True
        """Whether every node between sampler and file is understood as far as LoRAs go."""

    def follow(self, node: Node | None) -> None:
        """Note blanks, mu, LoRAs and model file along the chain that ends in ``node``."""
        for each in self._values.behind(node, "model"):
            if each.kind in _MODEL_FILES:
                self._file(each)
                return
            self._note(each)
        self._settings.did_not_understand("the chain of the model, which leads nowhere")
        self.whole = False

    def _note(self, node: Node) -> None:
        if node.kind == _FLEXTOOLS:
            self._settings.put("blanks", "flextools", node.name)
        if node.kind in _ONE_LORA:
            self._one(node)
        elif node.kind in _STACKS:
            _STACKS[node.kind](self, node)
        elif node.kind not in _HARMLESS and self._values.passing(node) is None:
            self._settings.did_not_understand(f"{shown(node.name)}, which the model goes through")
            self.whole = False

    def _file(self, node: Node) -> None:
        field = _MODEL_FILES[node.kind]
        self._settings.put("model", self._values.text(node, field), node.place(field))
        self._stored(node, field)

    def _stored(self, node: Node, field: str) -> None:
        """Note a base in few bits, by its loader's own field or else by its file's name."""
        dtype, file = self._values.text(node, "weight_dtype"), self._values.text(node, field)
        found, place = None if file is None else of_file(file), f"{node.place(field)}, by the file's name"
        if dtype not in {None, "default"}:
            assert dtype is not None
            found, place = of_weight_dtype(dtype), node.place("weight_dtype")
            if found is None:
                self._settings.put("dtype", dtype, place)
        elif node.kind == "CheckpointLoaderNF4":
            found, place = LowPrecision("nf4-transformer", None), node.name
        if found is not None:
            self._settings.put("quantize", found.quantize, place)
            self._settings.put("lora_mode", found.lora_mode, place)
        if node.kind == "UnetLoaderGGUFAdvanced":
            self._unpacked(node)

    def _unpacked(self, node: Node) -> None:
        """Note the dtype that a GGUF's weights are unpacked in, where the advanced loader names one."""
        dtype = self._values.text(node, "dequant_dtype") or "default"
        if (known := unpacking_of(dtype)) is not None:
            self._settings.put("unpacking", known, node.place("dequant_dtype"))
        elif dtype != "default":
            self._settings.did_not_understand(f"{node.place('dequant_dtype')} {shown(dtype)}")
        if (added := self._values.text(node, "patch_dtype")) not in {None, "default", "float32"}:
            self._settings.did_not_understand(
                f"{node.place('patch_dtype')} {shown(added)}: LoRAs are multiplied in fp32 here"
            )

    def _one(self, node: Node) -> None:
        strength = self._values.number(node, "strength_model")
        place, scale = (self._values.place(node, field) for field in ("lora_name", "strength_model"))
        self._add(self._values.text(node, "lora_name"), strength, place, scale=scale)

    def _add(
        self, name: str | None, strength: float | None, place: str, *, on: bool = True, scale: str = ""
    ) -> None:
        """Note a LoRA; the chain is followed from its end, so each stands before those found already."""
        if name in {"None", "", "none"}:
            return
        if name is None:
            self._settings.did_not_understand(f"the LoRA of {shown(place)}")
            self.whole = False
        elif not on:
            self._settings.loras_off.append(f"{shown(name)} is switched off ({shown(place)})")
        elif strength == 0:
            self._settings.loras_off.append(f"{shown(name)} has strength 0 ({shown(place)})")
        else:
            number = None if strength is None else float(strength)
            self.loras.insert(0, LoraUse(name, number, place, strength_place=scale))

    def _power_loader(self, node: Node) -> None:
        """Note rgthree's Power Lora Loader: each row is a mapping with a switch."""
        rows = [(key, row) for key, row in node.inputs.items() if key.startswith("lora_")]
        for key, row in reversed(rows[:_STACK_LIMIT]):
            if isinstance(row, dict):
                name, strength = row.get("lora"), row.get("strength")
                self._add(
                    name if isinstance(name, str) else None,
                    float(strength) if isinstance(strength, int | float) else None,
                    node.place(key),
                    on=row.get("on") is not False,
                )

    def _numbered(
        self, node: Node, name: str, strength: str, switch: str | None = None, count: int = 4
    ) -> None:
        for place in range(count, 0, -1):
            field = name.format(place)
            if field not in node.inputs:
                continue
            on = switch is None or self._values.text(node, switch.format(place)) != "Off"
            scale = self._values.number(node, strength.format(place))
            self._add(self._values.text(node, field), scale, node.place(field), on=on)

    def _rgthree_stack(self, node: Node) -> None:
        self._numbered(node, "lora_{:02d}", "strength_{:02d}")

    def _stack_of(self, node: Node) -> None:
        """Note the LoRAs of a stack that an apply node takes; stacks can be chained."""
        seen: set[str] = set()
        stack = self._values.graph.source(node, "lora_stack")
        while stack is not None and stack.id not in seen:
            seen.add(stack.id)
            if stack.kind == "CR LoRA Stack":
                self._numbered(stack, "lora_name_{}", "model_weight_{}", "switch_{}")
            elif stack.kind == "LoRA Stacker":
                self._stacker(stack)
            else:
                self._settings.did_not_understand(f"{shown(stack.name)}, a stack of LoRAs")
                self.whole = False
            stack = self._values.graph.source(stack, "lora_stack")

    def _stacker(self, stack: Node) -> None:
        """Note the Efficiency nodes' stacker, which has fields for more LoRAs than it counts."""
        count = self._values.integer(stack, "lora_count") or 0
        advanced = self._values.text(stack, "input_mode") == "advanced"
        strength = "model_str_{}" if advanced else "lora_wt_{}"
        self._numbered(stack, "lora_name_{}", strength, count=max(0, min(count, _STACK_LIMIT)))

    def _tags(self, node: Node) -> None:
        for name, strength in reversed(lora_tags(self._values.text(node, "text") or "")):
            self._add(name, strength, node.place("text"))


_STACKS: Mapping[str, Callable[[ModelChain, Node], None]] = MappingProxyType({
    "Power Lora Loader (rgthree)": ModelChain._power_loader,
    "Lora Loader Stack (rgthree)": ModelChain._rgthree_stack,
    "CR Apply LoRA Stack": ModelChain._stack_of,
    "LoraTagLoader": ModelChain._tags,
})  # fmt: skip
"""Nodes that apply several LoRAs, and how each is read."""

LORA_NODES = _ONE_LORA | _STACKS.keys()
"""Nodes that hand on the text encoder too, to which a Flex.2 LoRA does nothing."""

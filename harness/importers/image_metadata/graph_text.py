"""The chain of nodes that a ComfyUI conditioning comes through: guidance, prompt, tokens."""

from __future__ import annotations

from harness.importers.image_metadata.graph import MAX_HOPS, Node
from harness.importers.image_metadata.graph_model import LORA_NODES
from harness.importers.image_metadata.inference_settings import shown
from harness.importers.image_metadata.low_precision import of_encoder_file
from harness.importers.image_metadata.node_values import NodeValues

DEFAULT_GUIDANCE = 3.5
"""What ComfyUI's Flux models take where no node says another value."""
NO_GUIDANCE = "no node sets guidance"
T5_TOKENS = 256
"""Tokens that ComfyUI pads T5's prompt to for Flux, where no node says another number."""

REPAIRING = "Flex2Blanks"
"""The node of ``harness export comfy`` that makes FlexTools' blanks those of the trainer."""

_GUIDANCE = frozenset({"FluxGuidance", "FlexGuidance", "Flex2Conditioner", "CLIPTextEncodeFlux"})
_ENCODERS = frozenset({"CLIPTextEncode", "CLIPTextEncodeFlux"})
_UPSTREAM = ("conditioning", "positive")


def read_conditioning(values: NodeValues, node: Node | None) -> None:
    """Note guidance, prompt and tokens along the chain that ends in ``node``.

    The node nearest to the sampler decides guidance: it overwrites what those before it set.
    """
    settings, guided = values.settings, False
    seen: set[str] = set()
    for _ in range(MAX_HOPS):
        if node is None or node.id in seen:
            settings.did_not_understand("the chain of the prompt, which leads nowhere")
            return
        seen.add(node.id)
        if node.kind in _GUIDANCE and not guided:
            guided = True
            _guidance(values, node)
        if node.kind in _ENCODERS:
            if not guided:
                settings.put("guidance_scale", DEFAULT_GUIDANCE, NO_GUIDANCE, default=True)
            _prompt(values, node)
            return
        if node.kind == "FluxDisableGuidance" and not guided:
            guided = True
            settings.did_not_understand(f"{shown(node.name)}: the model is asked without guidance")
        elif node.kind == REPAIRING:
            settings.put("blanks", "repaired", node.name)
        elif node.kind not in _GUIDANCE and values.passing(node) is None:
            settings.did_not_understand(f"{shown(node.name)}, which the prompt goes through")
        node = values.passing(node) or _behind(values, node)


def _behind(values: NodeValues, node: Node) -> Node | None:
    return next((found for name in _UPSTREAM if (found := values.graph.source(node, name))), None)


def _guidance(values: NodeValues, node: Node) -> None:
    if values.text(node, "bypass_guidance_embedder") == "yes":
        values.settings.did_not_understand(
            f"{shown(node.name)} bypasses the guidance embedder: the model is asked without guidance"
        )
        return
    guidance = values.number(node, "guidance")
    values.settings.put("guidance_scale", guidance, values.place(node, "guidance"))


def _prompt(values: NodeValues, node: Node) -> None:
    settings = values.settings
    field = "t5xxl" if node.kind == "CLIPTextEncodeFlux" else "text"
    prompt = values.text(node, field)
    settings.put("prompt", prompt, values.place(node, field))
    if prompt is None:
        settings.did_not_understand(f"the prompt of {shown(node.name)}")
    if node.kind == "CLIPTextEncodeFlux" and (clip := values.text(node, "clip_l")) != prompt:
        settings.notes.append(f"CLIP is given another prompt than T5: {shown(clip or '')!r}")
    _tokens(values, values.graph.source(node, "clip"))


def _tokens(values: NodeValues, node: Node | None) -> None:
    """Note how many tokens the prompt is padded to, and T5's file, along the chain of the text encoder."""
    for each in values.behind(node, "clip"):
        if each.kind == "T5TokenizerOptions":
            length = values.integer(each, "min_length")
            if values.integer(each, "min_padding"):
                values.settings.did_not_understand(f"{shown(each.name)}, min_padding")
            values.settings.put("max_sequence_length", length, values.place(each, "min_length"))
        elif values.graph.source(each, "clip") is None:
            _encoder_files(values, each)
        elif each.kind not in LORA_NODES and values.passing(each) is None:
            values.settings.did_not_understand(f"{shown(each.name)}, which the text encoder goes through")
    values.settings.put("max_sequence_length", T5_TOKENS, "no T5TokenizerOptions", default=True)


def _encoder_files(values: NodeValues, loader: Node) -> None:
    """Note T5 in few bits, by its file's name, and encoders that are loaded for another kind of model."""
    for field in loader.inputs:
        if (
            not field.startswith("clip_name")
            or "t5" not in (name := values.text(loader, field) or "").lower()
        ):
            continue
        place = f"{loader.place(field)}, by the file's name"
        values.settings.put("quantize_te", of_encoder_file(name), place)
    kind = values.text(loader, "type")
    if loader.kind.startswith("DualCLIPLoader") and kind not in {None, "flux"}:
        values.settings.did_not_understand(f"{shown(loader.name)}, type {shown(str(kind))}")

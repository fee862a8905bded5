"""A ComfyUI workflow in the form that its editor opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.systems.comfy_graph import Graph


@dataclass(frozen=True)
class _Kind:
    """What the editor knows of a class of nodes: sockets in order, outputs, and fields that have a widget."""

    sockets: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    widgets: tuple[str, ...]


_MODEL, _CLIP, _VAE, _COND, _LATENT = "MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT"
_KINDS = {
    "UNETLoader": _Kind((), (_MODEL,), ("unet_name", "weight_dtype")),
    "DualCLIPLoader": _Kind((), (_CLIP,), ("clip_name1", "clip_name2", "type", "device")),
    "VAELoader": _Kind((), (_VAE,), ("vae_name",)),
    "LoraLoaderModelOnly": _Kind((("model", _MODEL),), (_MODEL,), ("lora_name", "strength_model")),
    "ModelSamplingFlux": _Kind(
        (("model", _MODEL),), (_MODEL,), ("max_shift", "base_shift", "width", "height")
    ),
    "T5TokenizerOptions": _Kind((("clip", _CLIP),), (_CLIP,), ("min_padding", "min_length")),
    "CLIPTextEncode": _Kind((("clip", _CLIP),), (_COND,), ("text",)),
    "EmptySD3LatentImage": _Kind((), (_LATENT,), ("width", "height", "batch_size")),
    "Flex2Conditioner": _Kind(
        (("model", _MODEL), ("vae", _VAE), ("positive", _COND), ("negative", _COND), ("latent", _LATENT)),
        (_MODEL, _COND, _COND, _LATENT),
        ("bypass_guidance_embedder", "guidance", "control_strength", "control_start_percent",
         "control_end_percent"),
    ),
    "FluxGuidance": _Kind((("conditioning", _COND),), (_COND,), ("guidance",)),
    "Flex2Blanks": _Kind((("positive", _COND), ("negative", _COND)), (_COND, _COND), ()),
    "KSampler": _Kind(
        (("model", _MODEL), ("positive", _COND), ("negative", _COND), ("latent_image", _LATENT)),
        (_LATENT,),
        ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    ),
    "VAEDecode": _Kind((("samples", _LATENT), ("vae", _VAE)), ("IMAGE",), ()),
    "SaveImage": _Kind((("images", "IMAGE"),), (), ("filename_prefix",)),
}  # fmt: skip


def editor_graph(graph: Graph, note: str) -> dict[str, Any]:
    """Return the editor's form of an API graph, with a note on top that says what will still differ."""
    nodes: list[dict[str, Any]] = []
    links: list[list[Any]] = []
    into: dict[tuple[str, int], list[int]] = {}
    for place, (key, node) in enumerate(graph.items()):
        kind = _KINDS[node["class_type"]]
        sockets = []
        for slot, (name, type_) in enumerate(kind.sockets):
            source, output = node["inputs"][name]
            links.append([len(links) + 1, int(source), output, int(key), slot, type_])
            into.setdefault((source, output), []).append(len(links))
            sockets.append({"name": name, "type": type_, "link": len(links)})
        nodes.append(_editor_node(key, node, kind, sockets, place))
    for each, (key, node) in zip(nodes, graph.items(), strict=True):
        for output, type_ in enumerate(_KINDS[node["class_type"]].outputs):
            each["outputs"].append(
                {"name": type_, "type": type_, "slot_index": output, "links": into.get((key, output), [])}
            )
    nodes.append(_note_node(len(nodes) + 1, note))
    return {
        "last_node_id": len(nodes), "last_link_id": len(links), "nodes": nodes, "links": links, "groups": [],
        "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip


def _note_node(key: int, note: str) -> dict[str, Any]:
    return {
        "id": key, "type": "Note", "pos": [0, -260], "size": [900, 220], "flags": {}, "order": 0, "mode": 0,
        "inputs": [], "outputs": [], "properties": {}, "widgets_values": [note],
    }  # fmt: skip


def _editor_node(
    key: str, node: dict[str, Any], kind: _Kind, sockets: list[dict[str, Any]], place: int
) -> dict[str, Any]:
    values = [node["inputs"][name] for name in kind.widgets]
    if "seed" in kind.widgets:
        values.insert(kind.widgets.index("seed") + 1, "fixed")
    return {
        "id": int(key), "type": node["class_type"], "pos": [340 * (place // 3), 340 * (place % 3)],
        "size": [300, 120 + 30 * len(values)], "flags": {}, "order": place, "mode": 0, "inputs": sockets,
        "outputs": [], "properties": {"Node name for S&R": node["class_type"]}, "widgets_values": values,
    }  # fmt: skip

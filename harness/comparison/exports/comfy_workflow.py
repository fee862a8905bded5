"""A case as a ComfyUI workflow: the API's graph, and the editor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.schema.case import Case
from harness.schema.spec import FLEX2

Graph = dict[str, dict[str, Any]]


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
    "Flex2Blanks": _Kind((("positive", _COND), ("negative", _COND)), (_COND, _COND), ()),
    "KSampler": _Kind(
        (("model", _MODEL), ("positive", _COND), ("negative", _COND), ("latent_image", _LATENT)),
        (_LATENT,),
        ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    ),
    "VAEDecode": _Kind((("samples", _LATENT), ("vae", _VAE)), ("IMAGE",), ()),
    "SaveImage": _Kind((("images", "IMAGE"),), (), ("filename_prefix",)),
}  # fmt: skip


def api_graph(case: Case) -> Graph:
    """Return the graph that ComfyUI's HTTP API takes, with every value set.

    Files have the names that the models' publishers gave them; the LoRA has its own.
    """
    settings = case.settings
    width, height = FLEX2.snap(settings.width, settings.height)
    shift = FLEX2.scheduler
    graph: Graph = {}

    def add(kind: str, **inputs: object) -> str:
        key = str(len(graph) + 1)
        graph[key] = {"class_type": kind, "inputs": inputs}
        return key

    model = add("UNETLoader", unet_name="Flex.2-preview.safetensors", weight_dtype="default")
    clip = add(
        "DualCLIPLoader", clip_name1="clip_l.safetensors", clip_name2="t5xxl_fp16.safetensors", type="flux",
        device="default",
    )  # fmt: skip
    vae = add("VAELoader", vae_name="ae.safetensors")
    if case.lora is not None:
        name, strength = case.lora.file.rpartition("/")[2], case.lora.network_multiplier
        model = add("LoraLoaderModelOnly", lora_name=name, strength_model=strength, model=[model, 0])
    model = add(
        "ModelSamplingFlux", max_shift=shift["max_shift"], base_shift=shift["base_shift"], width=width,
        height=height, model=[model, 0],
    )  # fmt: skip
    tokens = add("T5TokenizerOptions", min_padding=0, min_length=FLEX2.max_sequence_length, clip=[clip, 0])
    positive = add("CLIPTextEncode", text=escaped(settings.prompt), clip=[tokens, 0])
    negative = add("CLIPTextEncode", text="", clip=[tokens, 0])
    latent = add("EmptySD3LatentImage", width=width, height=height, batch_size=1)
    flex = add(
        "Flex2Conditioner", bypass_guidance_embedder="no", guidance=settings.guidance_scale,
        control_strength=1.0, control_start_percent=0.0, control_end_percent=1.0, model=[model, 0],
        vae=[vae, 0], positive=[positive, 0], negative=[negative, 0], latent=[latent, 0],
    )  # fmt: skip
    blanks = add("Flex2Blanks", positive=[flex, 1], negative=[flex, 2])
    sampled = add(
        "KSampler", seed=settings.seed, steps=settings.sample_steps, cfg=1.0, sampler_name="euler",
        scheduler="simple", denoise=1.0, model=[flex, 0], positive=[blanks, 0], negative=[blanks, 1],
        latent_image=[flex, 3],
    )  # fmt: skip
    image = add("VAEDecode", samples=[sampled, 0], vae=[vae, 0])
    add("SaveImage", filename_prefix=case.id.rpartition("/")[2], images=[image, 0])
    return graph


def escaped(prompt: str) -> str:
    r"""Return a prompt as ComfyUI reads it literally: a bracket is weighting there, unless written ``\(``."""
    return prompt.replace("(", r"\(").replace(")", r"\)")


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
    text = {
        "id": len(nodes) + 1,
        "type": "Note",
        "pos": [0, -260],
        "size": [900, 220],
        "flags": {},
        "order": 0,
    }
    nodes.append({**text, "mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": [note]})
    return {
        "last_node_id": len(nodes), "last_link_id": len(links), "nodes": nodes, "links": links, "groups": [],
        "config": {}, "extra": {}, "version": 0.4,
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

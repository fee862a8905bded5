"""ComfyUI's own record of an image: the graph that was executed, and the editor's graph beside it.

Facts, not code, of ComfyUI 0.3.64 and ComfyUI-FlexTools 8287164: the names of nodes and fields, and which
node overwrites what another set.
"""

from __future__ import annotations

from harness.importers.image_metadata.graph import MAX_HOPS, Graph, Link, Node
from harness.importers.image_metadata.graph_model import ModelChain
from harness.importers.image_metadata.graph_sampling import FINAL, read_sampling
from harness.importers.image_metadata.inference_settings import InferenceSettings, Tool, shown
from harness.importers.image_metadata.json_text import entries, read_object, text
from harness.importers.image_metadata.low_precision import join_encoder
from harness.importers.image_metadata.node_values import NodeValues

_SAVING = frozenset({
    "SaveImage", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveImageWebsocket", "PreviewImage",
    "Image Save", "SaveImageExtended", "Save Image w/Metadata", "Image Saver", "SaveImageKJ",
})  # fmt: skip
_DECODING = frozenset({"VAEDecode", "VAEDecodeTiled"})
_WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}
_OFF = {2: "muted", 4: "bypassed"}
_IMAGE_INPUTS = ("images", "image", "pixels")


def read_comfyui(
    prompt: str, workflow: str | None, *, source: str, file_name: str = ""
) -> InferenceSettings | None:
    """Return what a graph states, followed back from the node that saved the image.

    Args:
        prompt: the text of ComfyUI's ``prompt``: the API graph.
        workflow: the text of its ``workflow``, the editor's graph, where there is one.
        source: where the texts were found.
        file_name: the image's, which tells the node that saved it where there are several.

    Returns:
        None where ``prompt`` is no graph.
    """
    graph = Graph.read(prompt)
    if graph is None:
        return None
    settings = InferenceSettings(Tool.COMFYUI, source)
    if workflow is None:
        settings.notes.append("it holds no editor graph: it was sent to the HTTP API")
    else:
        _editor(settings, workflow)
    values = NodeValues(graph, settings)
    saving = _saving(values, file_name)
    final = _before_saving(values, saving) if saving is not None else None
    if final is None:
        settings.did_not_understand("which node drew the image")
        return settings
    model = read_sampling(values, final)
    chain = ModelChain(values)
    if model is not None:
        chain.follow(model)
        if chain.whole or chain.loras:
            settings.loras = chain.loras
        settings.put("blanks", "none", "no Flex2Conditioner", default=True)
    join_encoder(settings)
    return settings


def _saving(values: NodeValues, file_name: str) -> Node | None:
    """Return the node that saved the image: of several, those whose prefix begins the file's name."""
    nodes = values.graph.of_kind(_SAVING)
    kept = [node for node in nodes if node.kind != "PreviewImage"] or nodes
    if len(kept) > 1:
        named = [node for node in kept if _prefix_fits(values.text(node, "filename_prefix"), file_name)]
        kept = named or kept
    if len(kept) > 1:
        values.settings.notes.append(
            f"{len(kept)} nodes save images; read is {shown(kept[0].name)}, the first of them"
        )
    return kept[0] if kept else None


def _prefix_fits(prefix: str | None, file_name: str) -> bool:
    last = (prefix or "").replace("\\", "/").rpartition("/")[2]
    return bool(last) and file_name.startswith(last)


def _before_saving(values: NodeValues, saving: Node) -> Node | None:
    """Return the sampler, or whatever else made the picture, behind the node that saved it."""
    _webp(values, saving)
    node: Node | None = saving
    for _ in range(MAX_HOPS):
        assert node is not None
        field = next((name for name in _IMAGE_INPUTS if isinstance(node.inputs.get(name), Link)), None)
        behind = values.graph.source(node, field) if field else None
        if node is not saving and values.passing(node) is not None:
            behind = values.passing(node)
        if behind is None:
            return None
        if behind.kind in _DECODING:
            return values.graph.source(behind, "samples")
        if behind.kind in FINAL:
            return behind
        if values.passing(behind) is None:
            values.settings.did_not_understand(f"{shown(behind.name)}, which the picture goes through")
        node = behind
    return None


def _webp(values: NodeValues, saving: Node) -> None:
    if saving.kind != "SaveAnimatedWEBP" or saving.inputs.get("lossless") is True:
        return
    values.settings.put("webp_quality", values.integer(saving, "quality"), saving.place("quality"))
    method = _WEBP_METHODS.get(values.text(saving, "method") or "")
    values.settings.put("webp_method", method, saving.place("method"))


def _editor(settings: InferenceSettings, workflow: str) -> None:
    """Note ComfyUI's version, and LoRAs whose node is off: those do not stand in the executed graph."""
    found = read_object(workflow) or {}
    for node in entries(found.get("nodes")):
        kind, mode = text(node.get("type")) or "", node.get("mode")
        properties = node.get("properties")
        known = properties if isinstance(properties, dict) else {}
        if known.get("cnr_id") == "comfy-core" and settings.version is None:
            settings.version = text(known.get("ver"))
        if isinstance(mode, int) and mode in _OFF and "lora" in kind.lower():
            where = f"node {str(node.get('id'))[:40]} {shown(kind)}"
            settings.loras_off.append(f"{shown(_file_of(node) or kind)} is {_OFF[mode]} ({where})")


def _file_of(node: dict[str, object]) -> str | None:
    """Return the first text among an editor node's widgets: a LoRA loader's file."""
    widgets = node.get("widgets_values")
    return (
        next((each for each in widgets if isinstance(each, str)), None) if isinstance(widgets, list) else None
    )

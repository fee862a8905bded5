"""The sampler of a ComfyUI graph: seed, steps, schedule, guider, latents, shift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.importers.image_metadata.graph import MAX_HOPS, Node
from harness.importers.image_metadata.graph_text import read_conditioning
from harness.importers.image_metadata.inference_settings import LoraUse, Tool, shown
from harness.importers.image_metadata.node_values import NodeValues

FIXED_MU = 1.15
"""Log of the shift that ComfyUI's Flux models have where no ModelSamplingFlux stands in the graph."""
SHORT_TOKENS, LONG_TOKENS = 256, 4096
_EMPTY_LATENTS = frozenset({"EmptyLatentImage", "EmptySD3LatentImage", "EmptyFlux2LatentImage"})
_MODEL_ALONE = "ModelSamplingFlux"


def read_sampling(values: NodeValues, node: Node) -> Node | None:
    """Note what the node states that drew the latents or the picture.

    Returns:
        The node whose model it sampled; None where that is not ComfyUI's own sampling, or not understood.
    """
    for _ in range(MAX_HOPS):
        if node.kind in FINAL:
            return FINAL[node.kind](values, node)
        values.settings.did_not_understand(f"{shown(node.name)}, which the latents go through")
        behind = next(
            (found for name in ("samples", "latent") if (found := values.graph.source(node, name))), None
        )
        if behind is None:
            return None
        node = behind
    return None


def _ksampler(values: NodeValues, node: Node) -> Node | None:
    settings = values.settings
    seed = "noise_seed" if node.kind == "KSamplerAdvanced" else "seed"
    settings.put("seed", values.integer(node, seed), values.place(node, seed))
    settings.put("sample_steps", values.integer(node, "steps"), values.place(node, "steps"))
    settings.put("cfg", values.number(node, "cfg"), values.place(node, "cfg"))
    settings.put("sampler", values.text(node, "sampler_name"), values.place(node, "sampler_name"))
    settings.put("schedule", values.text(node, "scheduler"), values.place(node, "scheduler"))
    settings.put("denoise", values.number(node, "denoise"), values.place(node, "denoise"))
    if node.kind == "KSamplerAdvanced":
        _part_of_the_steps(values, node)
    _positive(values, node, "positive")
    _latents(values, values.graph.source(node, "latent_image"))
    model = values.graph.source(node, "model")
    _shift(values, model)
    return model


def _part_of_the_steps(values: NodeValues, node: Node) -> None:
    steps = values.integer(node, "steps") or 0
    end = values.integer(node, "end_at_step")
    if (values.integer(node, "start_at_step") or 0) > 0 or (end is not None and end < steps):
        values.settings.did_not_understand(f"{shown(node.name)} makes only a part of the steps")
    if values.text(node, "add_noise") == "disable":
        values.settings.did_not_understand(f"{shown(node.name)} adds no noise")


def _custom(values: NodeValues, node: Node) -> Node | None:
    """Note SamplerCustom, which has its conditioning itself."""
    values.settings.put("seed", values.integer(node, "noise_seed"), values.place(node, "noise_seed"))
    values.settings.put("cfg", values.number(node, "cfg"), values.place(node, "cfg"))
    if node.inputs.get("add_noise") is False:
        values.settings.did_not_understand(f"{shown(node.name)} adds no noise")
    _positive(values, node, "positive")
    _sampler_and_sigmas(values, node)
    return values.graph.source(node, "model")


def _custom_advanced(values: NodeValues, node: Node) -> Node | None:
    """Note SamplerCustomAdvanced, whose noise and guider are nodes of their own."""
    settings, graph = values.settings, values.graph
    noise, guider = graph.source(node, "noise"), graph.source(node, "guider")
    if noise is not None and noise.kind == "RandomNoise":
        settings.put("seed", values.integer(noise, "noise_seed"), values.place(noise, "noise_seed"))
    else:
        settings.did_not_understand(f"{shown(noise.name)}, the noise" if noise else "the noise")
    _sampler_and_sigmas(values, node)
    if guider is not None and guider.kind == "BasicGuider":
        settings.put("cfg", 1.0, guider.name)
        _positive(values, guider, "conditioning")
    elif guider is not None and guider.kind == "CFGGuider":
        settings.put("cfg", values.number(guider, "cfg"), values.place(guider, "cfg"))
        _positive(values, guider, "positive")
    else:
        settings.did_not_understand(f"{shown(guider.name)}, the guider" if guider else "the guider")
        return None
    return graph.source(guider, "model")


def _positive(values: NodeValues, node: Node, field: str) -> None:
    read_conditioning(values, values.graph.source(node, field))


def _sampler_and_sigmas(values: NodeValues, node: Node) -> None:
    settings, graph = values.settings, values.graph
    sampler, sigmas = graph.source(node, "sampler"), graph.source(node, "sigmas")
    if sampler is not None and sampler.kind == "KSamplerSelect":
        settings.put("sampler", values.text(sampler, "sampler_name"), values.place(sampler, "sampler_name"))
    else:
        settings.did_not_understand(f"{shown(sampler.name)}, the sampler" if sampler else "the sampler")
    if sigmas is not None and sigmas.kind in {"BasicScheduler", "BetaSamplingScheduler"}:
        own = "beta" if sigmas.kind == "BetaSamplingScheduler" else None
        settings.put("schedule", own or values.text(sigmas, "scheduler"), values.place(sigmas, "scheduler"))
        settings.put("sample_steps", values.integer(sigmas, "steps"), values.place(sigmas, "steps"))
        settings.put("denoise", values.number(sigmas, "denoise"), values.place(sigmas, "denoise"))
        if own and (values.number(sigmas, "alpha"), values.number(sigmas, "beta")) != (0.6, 0.6):
            settings.did_not_understand(f"{shown(sigmas.name)}, with another alpha or beta than 0.6")
        _shift(values, graph.source(sigmas, "model"))
    else:
        settings.did_not_understand(f"{shown(sigmas.name)}, the sigmas" if sigmas else "the sigmas")
    _latents(values, graph.source(node, "latent_image"))


def _shift(values: NodeValues, node: Node | None) -> None:
    """Note mu along the chain of the model that the sigmas are made for.

    ModelSamplingFlux goes on a straight line through ``base_shift`` at 256 and ``max_shift`` at 4096 tokens;
    it is told a size of its own, and at 1024 × 1024 with its defaults it changes nothing.
    """
    for each in values.behind(node, "model"):
        if each.kind == _MODEL_ALONE:
            _mu(values, each)
            return
        if each.kind.startswith("ModelSampling"):
            values.settings.did_not_understand(f"{shown(each.name)}, which changes the shift")
            return
    values.settings.put("mu", FIXED_MU, "no ModelSamplingFlux", default=True)


def _mu(values: NodeValues, node: Node) -> None:
    width, height = values.integer(node, "width"), values.integer(node, "height")
    base, top = values.number(node, "base_shift"), values.number(node, "max_shift")
    if width is None or height is None or base is None or top is None:
        values.settings.did_not_understand(f"{shown(node.name)}, its shift")
        return
    slope = (top - base) / (LONG_TOKENS - SHORT_TOKENS)
    mu = width * height / 256 * slope + base - slope * SHORT_TOKENS
    if abs(mu) <= 100:
        values.settings.put("mu", round(mu, 6), node.place(f"{width}×{height}, base_shift, max_shift"))


def _latents(values: NodeValues, node: Node | None) -> None:
    """Note the size of the empty latents, through the conditioner that hands them on."""
    seen: set[str] = set()
    while node is not None and node.id not in seen:
        seen.add(node.id)
        if node.kind in _EMPTY_LATENTS:
            _empty(values, node)
            return
        if node.kind == "Flex2Conditioner":
            for name, _ in node.links():
                if name in {"inpaint_image", "control_image"}:
                    what = f"{shown(node.name)}, {name}: the reference is given none"
                    values.settings.did_not_understand(what)
            node = values.graph.source(node, "latent")
        elif (behind := values.passing(node)) is not None:
            node = behind
        else:
            values.settings.did_not_understand(f"{shown(node.name)}, where the latents begin")
            return
    values.settings.did_not_understand("the latents that the sampler began with")


def _empty(values: NodeValues, node: Node) -> None:
    for edge in ("width", "height"):
        values.settings.put(edge, values.integer(node, edge), values.place(node, edge))
    batch = values.integer(node, "batch_size")
    if batch is not None and batch > 1:
        values.settings.notes.append(
            f"{shown(node.name)} draws {batch} images: which of them this is, nothing records"
        )


def _reference_nodes(values: NodeValues, node: Node) -> None:
    """Note RunComfy's nodes, which run the reference pipeline inside of ComfyUI."""
    settings = values.settings
    settings.tool = Tool.REFERENCE_SERVER
    names = {
        "prompt": "prompt", "neg": "negative_prompt", "width": "width", "height": "height", "seed": "seed",
    }  # fmt: skip
    whole = node.kind == "RCFlex2"
    names |= {"sample_steps": "sample_steps" if whole else "steps"}
    names |= {"guidance_scale": "guidance_scale" if whole else "cfg"}
    for name, field in names.items():
        as_text = name in {"prompt", "neg"}
        value = values.text(node, field) if as_text else values.number(node, field)
        settings.put(name, value, values.place(node, field))
    settings.loras = _reference_loras(values, node)


def _reference_loras(values: NodeValues, node: Node) -> list[LoraUse] | None:
    if node.kind == "RCFlex2":
        path, scale = values.text(node, "lora_path"), values.number(node, "lora_scale")
        return (
            [LoraUse(path, 1.0 if scale is None else float(scale), node.place("lora_path"))] if path else []
        )
    pipe = values.graph.source(node, "pipe")
    if pipe is None or pipe.kind != "RCAITKLoadPipeline":
        values.settings.did_not_understand("the pipeline of " + shown(node.name))
        return None
    lora = values.graph.source(pipe, "lora")
    if lora is None:
        return []
    name = values.text(lora, "lora_path_or_url") or values.text(lora, "lora_name")
    scale = values.number(lora, "lora_scale")
    if name is None:
        values.settings.did_not_understand(f"{shown(lora.name)}, the LoRA")
        return None
    return [LoraUse(name, 1.0 if scale is None else float(scale), lora.place("lora_name"))]


FINAL: Mapping[str, Callable[[NodeValues, Node], Node | None]] = MappingProxyType({
    "KSampler": _ksampler,
    "KSamplerAdvanced": _ksampler,
    "SamplerCustom": _custom,
    "SamplerCustomAdvanced": _custom_advanced,
    "RCFlex2": _reference_nodes,
    "RCAITKGenerate": _reference_nodes,
})  # fmt: skip
"""Nodes that draw latents or pictures, and how each is read."""

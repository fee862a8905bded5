"""A render request as a ComfyUI workflow in the form of its API, and what a workflow cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import HarnessError
from harness.schema.render import RenderRequest
from harness.systems.inference_body import SENT, unsendable

Graph = dict[str, dict[str, Any]]

LOADERS = ("unet_name", "weight_dtype", "clip_name1", "clip_name2", "vae_name", "lora_name")
"""Inputs of the loaders, whose values are names of files in ComfyUI's own folders."""


SAMPLER = "KSampler"
"""Class of the node whose inputs decide how often ComfyUI samples anew."""


def loader_files(texts: Sequence[str]) -> dict[str, str]:
    """Return the values of loaders that ``NAME=FILE`` texts give.

    Raises:
        HarnessError: another form, or no input of a loader.
    """
    found = dict(text.partition("=")[::2] for text in texts)
    for name, file in found.items():
        if name not in LOADERS or not file:
            fix = f"give NAME=FILE, NAME one of {', '.join(LOADERS)}"
            raise HarnessError(f"found {name!r}", field="--comfy-file", fix=fix)
    return found


def workflow_refusal(request: RenderRequest) -> str | None:
    """Return why ComfyUI cannot be asked for ``request``, or None where it can."""
    return unsendable(request, "ComfyUI", SENT | {"max_sequence_length", "divisor"})


def api_graph(request: RenderRequest, name: str, files: Mapping[str, str] | None = None) -> Graph:
    """Return the graph that ComfyUI's HTTP API takes, with every value set.

    Args:
        name: how ComfyUI begins the name of the image's file.
        files: values of ``LOADERS`` beside those by which the models' publishers call their files; the LoRA
            has its own name.
    """
    return _Builder(request, {**(files or {})}).graph(name)


class _Builder:
    def __init__(self, request: RenderRequest, files: dict[str, str]) -> None:
        self._request, self._files = request, files
        self._spec = request.spec
        self._width, self._height = request.size()
        self._graph: Graph = {}

    def graph(self, name: str) -> Graph:
        request = self._request
        model: list[Any] = [self._model(), 0]
        clip = self._add("DualCLIPLoader", clip_name1="clip_l.safetensors",
                         clip_name2="t5xxl_fp16.safetensors", type="flux", device="default")  # fmt: skip
        vae = self._add("VAELoader", vae_name="ae.safetensors")
        tokens = request.max_sequence_length or self._spec.max_sequence_length
        clip = self._add("T5TokenizerOptions", min_padding=0, min_length=tokens, clip=[clip, 0])
        positive = [self._add("CLIPTextEncode", text=escaped(request.prompt), clip=[clip, 0]), 0]
        negative = [self._add("CLIPTextEncode", text="", clip=[clip, 0]), 0]
        empty = self._add("EmptySD3LatentImage", width=self._width, height=self._height, batch_size=1)
        guided = self._conditions if self._spec.has_conditions else self._guidance
        model, positive, negative, latent = guided(model, [vae, 0], positive, negative, [empty, 0])
        sampled = self._add(SAMPLER, seed=request.seed, steps=request.sample_steps, cfg=1.0,
                            sampler_name="euler", scheduler="simple", denoise=1.0, model=model,
                            positive=positive, negative=negative, latent_image=latent)  # fmt: skip
        image = self._add("VAEDecode", samples=[sampled, 0], vae=[vae, 0])
        self._add("SaveImage", filename_prefix=name, images=[image, 0])
        return self._graph

    def _add(self, kind: str, **inputs: object) -> str:
        key = str(len(self._graph) + 1)
        own = {name: value for name, value in self._files.items() if name in inputs}
        self._graph[key] = {"class_type": kind, "inputs": {**inputs, **own}}
        return key

    def _model(self) -> str:
        model = self._add("UNETLoader", unet_name=self._spec.comfy_unet, weight_dtype="default")
        if (lora := self._request.lora) is not None:
            model = self._add("LoraLoaderModelOnly", lora_name=lora.file.name,
                              strength_model=lora.network_multiplier, model=[model, 0])  # fmt: skip
        shift = self._spec.scheduler
        return self._add("ModelSamplingFlux", max_shift=shift["max_shift"], base_shift=shift["base_shift"],
                         width=self._width, height=self._height, model=[model, 0])  # fmt: skip

    def _conditions(self, *sockets: list[Any]) -> tuple[list[Any], ...]:
        """Add FlexTools' conditioner, and the node that repairs its blanks."""
        model, vae, positive, negative, latent = sockets
        flex = self._add("Flex2Conditioner", bypass_guidance_embedder="no",
                         guidance=self._request.guidance_scale, control_strength=1.0,
                         control_start_percent=0.0, control_end_percent=1.0, model=model, vae=vae,
                         positive=positive, negative=negative, latent=latent)  # fmt: skip
        blanks = self._add("Flex2Blanks", positive=[flex, 1], negative=[flex, 2])
        return [flex, 0], [blanks, 0], [blanks, 1], [flex, 3]

    def _guidance(self, *sockets: list[Any]) -> tuple[list[Any], ...]:
        model, _, positive, negative, latent = sockets
        guided = self._add("FluxGuidance", guidance=self._request.guidance_scale, conditioning=positive)
        return model, [guided, 0], negative, latent


def escaped(prompt: str) -> str:
    r"""Return a prompt as ComfyUI reads it literally: a bracket is weighting there, unless written ``\(``."""
    return prompt.replace("(", r"\(").replace(")", r"\)")

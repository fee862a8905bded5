"""Small ComfyUI graphs for tests: a plain one, and changes to it."""

from __future__ import annotations

import copy
import json
from typing import Any

from harness.importers.image_metadata.comfyui import read_comfyui
from harness.importers.image_metadata.inference_settings import InferenceSettings

PLAIN: dict[str, dict[str, Any]] = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flex2", "weight_dtype": "default"}},
    "2": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "l", "clip_name2": "t5", "type": "flux"}},
    "3": {"class_type": "LoraLoaderModelOnly",
          "inputs": {"lora_name": "a.safetensors", "strength_model": 1.0, "model": ["1", 0]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["2", 0]}},
    "5": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "Flex2Conditioner",
          "inputs": {"bypass_guidance_embedder": "no", "guidance": 4.0, "model": ["3", 0],
                     "positive": ["4", 0], "negative": ["4", 0], "latent": ["5", 0]}},
    "7": {"class_type": "KSampler",
          "inputs": {"seed": 1, "steps": 25, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple",
                     "denoise": 1.0, "model": ["6", 0], "positive": ["6", 1], "negative": ["6", 2],
                     "latent_image": ["6", 3]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "out", "images": ["8", 0]}},
}  # fmt: skip


def graph(**changes: dict[str, Any]) -> dict[str, Any]:
    """The plain graph with nodes added, or inputs of its nodes changed, by ``nID``."""
    nodes = copy.deepcopy(PLAIN)
    for key, change in changes.items():
        name = key.removeprefix("n")
        if "class_type" in change:
            nodes[name] = change
        else:
            nodes[name]["inputs"] |= change
    return nodes


def node(kind: str, **inputs: object) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def read(nodes: dict[str, Any], *, file_name: str = "") -> InferenceSettings:
    found = read_comfyui(json.dumps(nodes), None, source="a test", file_name=file_name)
    assert found is not None
    return found

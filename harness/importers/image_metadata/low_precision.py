"""What tools call a base in few bits, as values of a case's ``quantize`` and ``lora_mode``.

A file's name is all that an image keeps of how the file was stored. ComfyUI merges a LoRA into float8 weights
and rounds at random; ComfyUI-GGUF adds it to the weights each time they are unpacked, unrounded; Forge merges
it and rounds to nearest, unless its list of low bits says "fp16 LoRA". Sources: the nodes' public definitions
(ComfyUI ``nodes.py``, ComfyUI-GGUF ``nodes.py``) and Forge's "Diffusion in Low Bits".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.importers.image_metadata.inference_settings import InferenceSettings, Stated

_GGUF = re.compile(r"(?:^|[-_.])(i?q\d(?:_\d|_k(?:_[sml])?|_[a-z]+)?)(?=[-_.]|$)", re.IGNORECASE)
_SMALL, _LARGE = re.compile(r"_k_s$"), re.compile(r"q3_k_l$")
"""On this model a small mixture is one type, and the large one is the middle one."""


@dataclass(frozen=True)
class LowPrecision:
    """A base's weights in few bits.

    Attributes:
        quantize: as a case has it where the quantizer is known, else the tool's own word.
        lora_mode: how the tool applies a LoRA to them; None where that is not known.
    """

    quantize: str
    lora_mode: str | None


def of_weight_dtype(dtype: str) -> LowPrecision | None:
    """Return what a loader's ``weight_dtype`` asks for; None where that is no float8."""
    kind = dtype.lower().removesuffix("_fast")
    if kind in {"fp8_e4m3fn", "fp8_e5m2"}:
        return LowPrecision(f"{kind}-transformer", "stochastic")
    return None


def unpacking_of(dtype: str) -> str | None:
    """Return what ComfyUI-GGUF's ``dequant_dtype`` asks for, as the axis has it; None for its default, fp16.

    ``target`` is the dtype that ComfyUI computes in: for this model bf16, on GPUs that have it.
    """
    known = {"target": "bf16", "bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    return known.get(dtype)


def of_file(name: str) -> LowPrecision | None:
    """Return what the name of a model's file says of its weights; None where it says nothing."""
    kind, lora_mode = _kind(name)
    return LowPrecision(f"{kind}-transformer", lora_mode) if kind else None


def of_encoder_file(name: str) -> str | None:
    """Return what the name of T5's file says of its weights, as a case's ``quantize`` has it; or None.

    Of a mixture it is the type of most layers.
    """
    kind, _ = _kind(name)
    return f"{kind.removesuffix('_m')}-te" if kind else None


def _kind(name: str) -> tuple[str | None, str | None]:
    """Return the quantizer that a file's name tells, and how ComfyUI applies a LoRA to it."""
    stem = re.split(r"[/\\]", name)[-1].lower()
    if stem.endswith(".gguf"):
        found = _GGUF.search(stem.removesuffix(".gguf"))
        kind = found and _LARGE.sub("q3_k_m", _SMALL.sub("_k", found[1]))
        return (f"gguf_{kind}", "unpacked") if kind else (None, None)
    if "fp8" in stem or "float8" in stem:
        kind = "fp8_scaled" if "scaled" in stem else "fp8_e5m2" if "e5m2" in stem else "fp8_e4m3fn"
        return kind, "stochastic"
    if "bnb" in stem and "int8" in stem:
        return "bnb_int8", None
    return ("nf4", None) if "nf4" in stem else (None, None)


def join_encoder(settings: InferenceSettings) -> None:
    """Make one ``quantize`` of what is stated of the transformer and of T5, if a case can say both."""
    te, base = settings.stated.pop("quantize_te", None), settings.stated.get("quantize")
    if te is None:
        return
    if base is None:
        settings.stated["quantize"] = te
        return
    kind, own = str(te.value).removesuffix("-te"), str(base.value).removesuffix("-transformer")
    if kind == own.removesuffix("_m"):
        settings.stated["quantize"] = Stated(own, f"{base.place}; {te.place}")
    else:
        settings.did_not_understand(f"T5 in {kind} ({te.place}) beside a base in another quantizer")


def of_forge(bits: str) -> LowPrecision | None:
    """Return what Forge's "Diffusion in Low Bits" asks for; None where that is no format of few bits."""
    kind, _, lora = bits.lower().partition("(")
    known = {"bnb-nf4": "nf4", "float8-e4m3fn": "fp8_e4m3fn", "float8-e5m2": "fp8_e5m2", "bnb-fp4": "bnb-fp4"}
    if (found := known.get(kind.strip())) is None:
        return None
    return LowPrecision(f"{found}-transformer", "adapter" if "lora" in lora else "merged")

"""Every quantizer that is known by name: whose it is, what it does to a weight, and where that was read.

Names alone: what they compute is in ``harness.precision``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

Side = Literal["trainer", "inference"]

PARTS: Final = {
    "": ("transformer", "text_encoder_2"),
    "-transformer": ("transformer",),
    "-te": ("text_encoder_2",),
}
"""Ends of a case's ``quantize``, and the components that are quantized; ``te`` is T5."""
ACTIVATIONS_LEFT: Final = "_a16"
"""End of a convrot quantizer's name where its layers do not round what they are given."""


@dataclass(frozen=True)
class Quantizer:
    """One way to store weights in few bits.

    Attributes:
        side: whether AI Toolkit trains with it, or tools render with it.
        library: what computes it: a package, ``torch``, or ``AI Toolkit`` for the trainer's own code.
        what: what it does to the weight of a linear layer.
        source: where that was read.
        package: the optional package that it needs here, by the name that pip knows; None where none.
    """

    name: str
    side: Side
    library: str
    what: str
    source: str
    package: str | None = None

    @property
    def is_gguf(self) -> bool:
        """Whether it is a type of GGUF files, whose weights are unpacked for every product."""
        return self.name.startswith("gguf_")

    @property
    def is_rotated(self) -> bool:
        """Whether its layers rotate what they are given: the trainer's convrot quantizers."""
        return self.name.startswith("convrot")

    @property
    def is_orbit(self) -> bool:
        """Whether its layers reorder what they are given and rotate it: the trainer's orbit quantizers."""
        return self.name.startswith("orbit")

    @property
    def keeps_layers(self) -> bool:
        """Whether rounded weights in plain linear layers compute the same as the library does."""
        return not (self.library in {"optimum-quanto", "torchao"} or self.is_rotated or self.is_orbit)


_TRAINER, _QUANTO = "AI Toolkit 0.12.26, toolkit/util", "optimum-quanto 0.2.7, quantize and freeze"
_TORCHAO, _GGUF = "torchao 0.18.0, quantize_", "gguf 0.19.0, gguf.quants"
_GGML = "ggml 0.13.1, ggml-quants.c; ComfyUI-GGUF, tools/lcpp.patch"


def _quanto(name: str, what: str) -> Quantizer:
    return Quantizer(name, "trainer", "optimum-quanto", what, _QUANTO, "optimum-quanto")


def _uint(bits: int) -> Quantizer:
    what = f"{bits} bits with a scale and a zero point for 64 weights; rows of other widths stay as they are"
    return Quantizer(f"uint{bits}", "trainer", "AI Toolkit", what, f"{_TRAINER}/uintx_quant.py")


def _rotated(name: str, what: str, activations: str = "8 bits") -> tuple[Quantizer, Quantizer]:
    source, rounded = f"{_TRAINER}/convrot_quant.py", f"rotated, then {what}; activations in {activations}"
    left = f"the weights of {name}; activations rotated alone"
    return (
        Quantizer(name, "trainer", "AI Toolkit", rounded, source),
        Quantizer(f"{name}{ACTIVATIONS_LEFT}", "trainer", "AI Toolkit", left, source),
    )


def _orbit(bits: int) -> Quantizer:
    what = f"reordered and rotated, then {2**bits} quantiles of a normal distribution, a scale for each row"
    return Quantizer(f"orbit{bits}", "trainer", "AI Toolkit", what, f"{_TRAINER}/orbit_quant.py")


_ALL = (
    _quanto("qfloat8", "float8 e4m3fn with a scale for each row; the trainer's default"),
    _quanto("qfloat8_e5m2", "float8 e5m2 with a scale for each row"),
    _quanto("qfloat8_e4m3fnuz", "float8 e4m3fnuz, up to 240, with a scale for each row"),
    _quanto("qint8", "8-bit integers with a scale for each row"),
    _quanto("qint4", "4-bit integers with scale and shift for up to 128 weights"),
    _quanto("qint2", "2-bit integers with scale and shift for up to 128 weights"),
    Quantizer("float8", "trainer", "torchao", "float8 e4m3fn with a scale for each row; also "
              "qfloat8 with layer_offloading", _TORCHAO, "torchao"),
    Quantizer("int8", "trainer", "torchao", "8-bit integers with a scale for each row", _TORCHAO, "torchao"),
    *(_uint(bits) for bits in range(2, 8)),
    Quantizer("uint8", "trainer", "AI Toolkit", "nothing: the name is accepted, and every weight "
              "stays as it is", f"{_TRAINER}/uintx_quant.py"),
    *_rotated("convrot8", "8-bit integers"),
    *_rotated("convrot4", "nvfp4", "nvfp4"),
    *(each for bits in range(2, 8) for each in _rotated(f"convrotint{bits}", f"{bits}-bit integers")),
    *_rotated("convrotbitnet", "three values"),
    *(_orbit(bits) for bits in (2, 3, 4)),
    Quantizer("nvfp4", "trainer", "AI Toolkit", "fp4 e2m1 with a float8 scale for 16 weights",
              f"{_TRAINER}/nvfp4_quant.py"),
    Quantizer("fp8_e4m3fn", "inference", "torch", "a plain cast to float8 e4m3fn, as ComfyUI's weight_dtype",
              "torch, Tensor.to"),
    Quantizer("fp8_e5m2", "inference", "torch", "a plain cast to float8 e5m2, as ComfyUI's weight_dtype",
              "torch, Tensor.to"),
    Quantizer("fp8_scaled", "inference", "torch", "float8 e4m3fn with a scale for each tensor",
              "the layout of ComfyUI's scaled fp8 files: weight and scale_weight"),
    Quantizer("fp8_scaled_row", "inference", "torch", "float8 e4m3fn with a scale for each row",
              "the layout of row-wise scaled matmuls, torch._scaled_mm"),
    *(Quantizer(f"gguf_{name.lower()}", "inference", "gguf", what, _GGUF, "gguf")
      for name, what in (("Q8_0", "8-bit integers with an fp16 scale for 32 weights"),
                         ("Q4_0", "4-bit integers with an fp16 scale for 32 weights"))),
    *(Quantizer(f"gguf_{name}", "inference", "ggml", what, _GGML)
      for name, what in (("q6_k", "6-bit integers, scales for 16 weights in blocks of 256"),
                         ("q5_k", "5-bit integers, scales and minima for 32 weights in blocks of 256"),
                         ("q4_k", "4-bit integers, scales and minima for 32 weights in blocks of 256"),
                         ("q3_k", "3-bit integers, scales for 16 weights in blocks of 256"),
                         ("q2_k", "2-bit integers, scales and minima for 16 weights in blocks of 256"),
                         ("q5_k_m", "Q5_K, and Q6_K for q, k and v of double blocks"),
                         ("q4_k_m", "Q4_K, and Q5_K for q, k and v of double blocks"),
                         ("q3_k_m", "Q3_K, and Q4_K for q, k and v of double blocks; Q3_K_L is the same"))),
    Quantizer("nf4", "inference", "bitsandbytes", "16 quantiles of a normal distribution, a scale for 64",
              "bitsandbytes 0.50.2, functional.quantize_4bit", "bitsandbytes"),
    Quantizer("bnb_int8", "inference", "bitsandbytes", "8-bit integers with a scale for each row",
              "bitsandbytes 0.50.2, functional.int8_vectorwise_quant", "bitsandbytes"),
)  # fmt: skip

QUANTIZERS: Final = {each.name: each for each in _ALL}
"""By name: the trainer's first, the likeliest of each side first."""

UNKNOWN: Final = {
    **{f"orbitvq{bits}": f"rotated at random, then a lattice of {bits} bits a weight" for bits in (2, 3, 4)},
    "convrotcomfyw4a4": "rotated, then 4-bit integers on both sides",
}
"""What AI Toolkit 0.12.26 trains with too, and nothing here computes, with what it does to a weight."""

STOCHASTIC: Final = frozenset({"fp8_e4m3fn", "fp8_e5m2", "fp8_scaled"})
"""Quantizers into which ComfyUI merges a LoRA by rounding at random."""

NAMED_ALONE: Final = frozenset(name for name, each in QUANTIZERS.items() if each.library == "ggml")
"""Quantizers that a search tries only where a case or an image names a GGUF file."""

SETTINGS: Final = ("none", *(f"{name}{end}" for name in QUANTIZERS for end in PARTS))
"""Every value of a case's ``quantize``: a quantizer for transformer and T5, or for one of them."""


def quantizer_of(setting: str) -> tuple[str | None, frozenset[str]]:
    """Return the quantizer of a case's ``quantize``, if any, and the components that it quantizes."""
    if setting == "none":
        return None, frozenset()
    end = next((end for end in ("-transformer", "-te") if setting.endswith(end)), "")
    return setting.removesuffix(end), frozenset(PARTS[end])


ALONE: Final = "!"
"""Beginning of a pattern of layers that alone are quantized, as of ``quantize_kwargs.include``."""


def is_left_out(layer: str, patterns: Sequence[str]) -> bool:
    """Whether a layer stays as it is: its name matches a pattern, or none of those after ``ALONE``.

    The patterns are as of AI Toolkit's ``model.quantize_kwargs``.
    """
    alone = [pattern.removeprefix(ALONE) for pattern in patterns if pattern.startswith(ALONE)]
    if alone and not any(fnmatchcase(layer, pattern) for pattern in alone):
        return True
    return any(fnmatchcase(layer, pattern) for pattern in patterns)


def recorded_settings(qtype: str | None, transformer: bool, te: bool) -> tuple[str, ...]:
    """Return ``setting_of`` a job, if any, and the same with activations rounded where those are not.

    Which of the two a convrot quantizer does depends on the GPU, which no job records.
    """
    other = None
    if qtype in QUANTIZERS and QUANTIZERS[qtype].is_rotated:
        plain = qtype.removesuffix(ACTIVATIONS_LEFT)
        other = plain if plain != qtype else f"{qtype}{ACTIVATIONS_LEFT}"
    found = (setting_of(each, transformer, te) for each in (qtype, other))
    return tuple(each for each in found if each is not None)


def other_mixture(setting: str) -> str | None:
    """Return the same ``quantize`` with a GGUF's other mixture, if any: a file called Q4_K is _S or _M."""
    name, _ = quantizer_of(setting)
    other = "" if name is None else name.removesuffix("_m") if name.endswith("_m") else f"{name}_m"
    return f"{other}{setting[len(str(name)) :]}" if other in QUANTIZERS else None


def setting_of(qtype: str | None, transformer: bool, te: bool) -> str | None:
    """Return the ``quantize`` that says what a job did, or None where it did nothing or is not known."""
    end = {(True, True): "", (True, False): "-transformer", (False, True): "-te"}.get((transformer, te))
    return f"{qtype}{end}" if end is not None and qtype in QUANTIZERS else None

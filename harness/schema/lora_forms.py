"""Which transformer modules diffusers applies of a LoRA file, by the form of its keys.

AI Toolkit writes ``transformer.<module>.lora_A.weight`` and ``lora_B``. Files of other tools have other keys;
diffusers converts some of them and drops the rest without a word. Source: ``FluxLoraLoaderMixin`` and
``lora_conversion_utils`` of diffusers 0.42.1, and what it loaded of a file in each form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from harness._util.words import some
from harness.errors import LoraError, UnrenderableLoraError
from harness.schema.lora_header import Tensor

Form = Literal["peft", "down-up", "kohya", "comfyui", "mixture"]

CONVERSIONS: Final[dict[Form, str]] = {
    "down-up": "lora_down and lora_up are read as lora_A and lora_B",
    "kohya": "kohya keys (lora_unet_…) are converted to Flex.2's modules",
    "comfyui": "ComfyUI keys (diffusion_model.…lora_down) are converted to Flex.2's modules",
    "mixture": "keys lora_transformer_… are converted to Flex.2's modules",
}
"""What diffusers does with each form; ``peft`` needs no conversion."""

_SUFFIX = re.compile(r"\.(lora_[AB]\.weight|lora[_.](down|up)\.weight|alpha)$")
_PARTS = dict.fromkeys(("lora_A.weight", "lora_down.weight", "lora.down.weight"), "A") | {"alpha": "alpha"}
_PARTS |= dict.fromkeys(("lora_B.weight", "lora_up.weight", "lora.up.weight"), "B")

_QKV, _ADD_QKV = ("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")
_DOUBLE: Final[dict[str, tuple[str, ...]]] = {
    "img_attn_proj": ("attn.to_out.0",),
    "img_attn_qkv": tuple(f"attn.{name}" for name in _QKV),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_attn_proj": ("attn.to_add_out",),
    "txt_attn_qkv": tuple(f"attn.{name}" for name in _ADD_QKV),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "txt_mod_lin": ("norm1_context.linear",),
}
_SINGLE: Final[dict[str, tuple[str, ...]]] = {
    "linear1": (*(f"attn.{name}" for name in _QKV), "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
_BLOCKS = {
    "double": ("transformer_blocks", 19, _DOUBLE),
    "single": ("single_transformer_blocks", 38, _SINGLE),
}
OUTSIDE: Final = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    **{
        f"{ours}.{side}_layer": f"time_text_embed.{theirs}.linear_{number}"
        for ours, theirs in (
            ("time_in", "timestep_embedder"),
            ("vector_in", "text_embedder"),
            ("guidance_in", "guidance_embedder"),
        )
        for number, side in ((1, "in"), (2, "out"))
    },
}
"""diffusers' names of modules outside the blocks, by Black Forest Labs'; their rows are in the same order."""
TURNED: Final = {"final_layer.adaLN_modulation.1": "norm_out.linear"}
"""The module outside the blocks whose halves are the other way round."""

_KOHYA = re.compile(r"lora_unet_(?P<kind>double|single)_blocks_(?P<index>\d+)_(?P<part>\w+)")
_MIXTURE = re.compile(
    r"lora_transformer_(?P<kind>single_transformer_blocks|transformer_blocks)_(?P<index>\d+)_attn_(?P<part>\w+)"
)
_MIXTURE_OUTSIDE = {
    f"lora_transformer_{name.replace('.', '_')}": name for name in (OUTSIDE | TURNED).values()
}
_MIXTURE_PARTS = {
    "to_out_0": "to_out.0",
    "to_add_out": "to_add_out",
    **{name: name for name in (*_QKV, *_ADD_QKV)},
}

LINEAR1_SPLIT: Final = (3072, 3072, 3072, 12288)
"""Rows of ``linear1`` that diffusers gives to q, k, v and the MLP, whatever the size of the model."""

LINEAR1_PARTS: Final = len(LINEAR1_SPLIT)
"""Modules that ``linear1`` holds."""


@dataclass(frozen=True)
class Layer:
    """The tensors of a file that belong together.

    Attributes:
        modules: the transformer modules that it applies to, in the order of the rows of B.
        rank: rows of A, columns of B.
        out_features: rows of B, of all modules together.
        alpha: key of its alpha, or None.
        a: key of A.
        b: key of B.
    """

    modules: tuple[str, ...]
    rank: int
    in_features: int
    out_features: int
    alpha: str | None
    a: str
    b: str

    def split(self) -> tuple[int, ...]:
        """Return how many rows of B each module gets."""
        if len(self.modules) == LINEAR1_PARTS:
            return LINEAR1_SPLIT
        return (self.out_features // len(self.modules),) * len(self.modules)


def form_of(keys: Iterable[str]) -> Form:
    """Return the form that diffusers takes a file for; it decides by what any one key holds."""
    names = list(keys)
    if not any(".lora_down.weight" in key for key in names):
        return "down-up" if _is_of_old_diffusers(names) else "peft"
    if any(key.startswith("transformer.") for key in names):
        return "down-up"
    if any(key.startswith("lora_transformer_") for key in names):
        return "mixture"
    return "comfyui" if any(key.startswith("diffusion_model.") for key in names) else "kohya"


def _is_of_old_diffusers(names: list[str]) -> bool:
    """Whether a file has ``lora.down`` and no ``lora_A``, as diffusers wrote before it had PEFT."""
    old = any(key.startswith("transformer.") and ".lora.down.weight" in key for key in names)
    return old and not any(".lora_A.weight" in key for key in names)


def modules_of_key(key: str, form: Form) -> tuple[str, ...]:
    """Return the modules that diffusers applies a lora_A, lora_B or alpha to; none of any other key."""
    match = _SUFFIX.search(key)
    if match is None or (match[1].startswith("lora.") and form != "down-up"):
        return ()
    return modules_of(key[: match.start()], form)


def find_layers(path: Path, tensors: Mapping[str, Tensor], form: Form) -> list[Layer]:
    """Return the layers of a file.

    Raises:
        LoraError: a key is not applied by diffusers, or is more than a LoRA; A and B do not match.
    """
    refuse_other_kinds(path, tensors)
    parts: dict[str, dict[str, str]] = {}
    modules: dict[str, tuple[str, ...]] = {}
    unused = []
    for key in tensors:
        match = _SUFFIX.search(key)
        if match is None or not (found := modules_of_key(key, form)):
            unused.append(key)
        else:
            source = key[: match.start()]
            modules[source] = found
            other = parts.setdefault(source, {}).setdefault(_PARTS[match[1]], key)
            if other != key:
                fix = "only one of the two is applied: use the file as AI Toolkit saved it"
                raise LoraError(f"holds {other} and {key}, which are the same", file=path, fix=fix)
    if unused:
        raise _unused(path, unused, everything=not parts)
    return [_layer(path, source, keys, tensors, modules[source], form) for source, keys in parts.items()]


def _layer(
    path: Path, source: str, keys: Mapping[str, str], tensors: Mapping[str, Tensor],
    modules: tuple[str, ...], form: Form,
) -> Layer:  # fmt: skip
    if "A" not in keys or "B" not in keys:
        raise LoraError("has only one of lora_A and lora_B", file=path, field=source)
    a, b = tensors[keys["A"]].shape, tensors[keys["B"]].shape
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or 0 in (*a, *b):
        found = f"has lora_A {list(a)} and lora_B {list(b)}, which are not [rank, in] and [out, rank]"
        raise LoraError(found, file=path, field=source)
    if "alpha" in keys and math.prod(tensors[keys["alpha"]].shape) != 1:
        found = f"has an alpha of shape {list(tensors[keys['alpha']].shape)}, which is not one number"
        raise LoraError(found, file=path, field=source)
    layer = Layer(modules, a[0], a[1], b[0], keys.get("alpha"), keys["A"], keys["B"])
    if sum(layer.split()) != layer.out_features:
        found = f"has {b[0]} rows, which diffusers cannot split into {', '.join(modules)}"
        raise LoraError(found, file=path, field=source)
    if form == "mixture" and layer.alpha is None:
        raise LoraError("has no alpha, without which diffusers cannot convert it", file=path, field=source)
    return layer


def refuse_other_kinds(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a file that is more than a plain LoRA of the transformer.

    Raises:
        LoraError: says which keys are.
    """
    if not tensors:
        raise LoraError("holds no tensors", file=path)
    for matches, found, fix in _OTHER_KINDS:
        if keys := [key for key in tensors if matches(key)]:
            kind = UnrenderableLoraError if any(".lokr_" in key for key in keys) else LoraError
            raise kind(found.format(keys=some(keys)), file=path, fix=fix)


_TRAIN_LORA = "train with network.type: lora"
_OTHER_KINDS: Final[tuple[tuple[Callable[[str], object], str, str], ...]] = (
    (
        lambda key: ".lokr_" in key,
        "is a LoKr file ({keys}), which the reference pipeline cannot load",
        _TRAIN_LORA,
    ),
    (
        lambda key: "lora_magnitude_vector" in key,
        "is a DoRA file ({keys}): diffusers applies its magnitudes too, and the harness only plain LoRA",
        _TRAIN_LORA,
    ),
    (
        lambda key: "dora_scale" in key,
        "is a DoRA file ({keys}): diffusers drops its magnitudes and applies the rest",
        _TRAIN_LORA,
    ),
    (
        re.compile(r"lora_[AB]\.bias$|lora_(down|up)\.bias$").search,
        "holds biases ({keys}): diffusers applies them too, and the harness only weights",
        "AI Toolkit trains none: use the file as it saved it",
    ),
    (
        re.compile(r"\bnorm_(added_)?[qk]\.weight$").search,
        "holds weights of the base's own norms ({keys}): diffusers would put them into the base",
        "AI Toolkit writes none: use the file as it saved it",
    ),
    (
        re.compile(r"^(lora_te|text_encoder)").search,
        "holds layers of a text encoder ({keys}): diffusers applies them too, and the harness does not",
        "AI Toolkit trains none for Flex.2",
    ),
)
"""Keys that are more than a LoRA of the transformer: which, what to say of them, what to do."""


def _unused(path: Path, keys: list[str], *, everything: bool) -> LoraError:
    """Say that diffusers applies nothing of ``keys``, which are all keys of the file if ``everything``."""
    fix = (
        "diffusers applies transformer.<module>.lora_A.weight and .lora_B.weight, and kohya's "
        "lora_unet_double_blocks_… and lora_unet_single_blocks_…"
    )
    if not everything:
        kind = UnrenderableLoraError if all(key.endswith(_OF_THE_TRAINER) for key in keys) else LoraError
        return kind(f"holds keys that diffusers does not apply ({some(keys)})", file=path, fix=fix)
    tool = next((tool for prefix, tool in _PREFIXES.items() if keys[0].startswith(prefix)), None)
    origin = f"has {tool} keys ({some(keys)})" if tool else f"holds {some(keys)}"
    return LoraError(f"{origin}, of which diffusers loads nothing", file=path, fix=fix)


_OF_THE_TRAINER = (".diff", ".diff_b", ".magnitude")
"""Ends of keys that AI Toolkit itself saves beside a LoRA, e.g. with ``network.all_layers``."""

_PREFIXES = {
    "diffusion_model.": "ComfyUI's",
    "double_blocks.": "Black Forest Labs'",
    "single_blocks.": "Black Forest Labs'",
    "base_model.": "PEFT's own",
}


def is_module(name: str) -> bool:
    """Whether a transformer of Flex or FLUX.1 has a linear layer of that name."""
    return name in _MODULES


def modules_of(source: str, form: Form) -> tuple[str, ...]:
    """Return the modules that diffusers applies a layer to; none where it applies nothing."""
    if form in {"peft", "down-up"}:
        return (source.removeprefix("transformer."),) if source.startswith("transformer.") else ()
    if form == "mixture":
        if source in _MIXTURE_OUTSIDE:
            return (_MIXTURE_OUTSIDE[source],)
        match = _MIXTURE.fullmatch(source)
        part = _MIXTURE_PARTS.get(match["part"]) if match else None
        return (f"{match['kind']}.{match['index']}.attn.{part}",) if match and part else ()
    match = _KOHYA.fullmatch(source.replace("diffusion_model.", "lora_unet_").replace(".", "_"))
    return parts_of(match["kind"], int(match["index"]), match["part"]) if match else ()


def parts_of(kind: str, index: int, part: str) -> tuple[str, ...]:
    """Return diffusers' modules of a part of a ``double`` or ``single`` block, e.g. ``img_attn_qkv``."""
    blocks, count, parts = _BLOCKS[kind]
    names = parts.get(part, ()) if index < count else ()
    return tuple(f"{blocks}.{index}.{name}" for name in names)


def layer_names() -> dict[str, tuple[str, ...]]:
    """Return every linear layer by Black Forest Labs' name, with the modules that diffusers has in its place.

    In blocks the part is written with underscores: ``double_blocks.0.img_attn_qkv``.
    """
    blocks = {
        f"{kind}_blocks.{index}.{part}": parts_of(kind, index, part)
        for kind, (_, count, parts) in _BLOCKS.items()
        for index in range(count)
        for part in parts
    }
    return blocks | {theirs: (ours,) for theirs, ours in (OUTSIDE | TURNED).items()}


_MODULES = frozenset(module for modules in layer_names().values() for module in modules)

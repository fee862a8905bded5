"""Every axis of a sweep, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args

from harness.pipeline.schedulers import SCHEDULERS, find_scheduler
from harness.precision.availability import missing
from harness.schema.quantizers import NAMED_ALONE, QUANTIZERS, SETTINGS, quantizer_of, recorded_settings
from harness.schema.render import LoraMode, RenderRequest, lora_modes
from harness.schema.spec import Limits
from harness.sweeps.axis import Axis, Context, Family, Grid, checkpoints, prompts
from harness.sweeps.axis_values import Parse, Value, choice, integer, number, switch, unknown
from harness.sweeps.dialect_axes import DIALECT_AXES

ATTENTION = {
    "cpu": ("native", "_native_math"),
    "cuda": ("native", "_native_efficient", "_native_flash", "_native_cudnn", "_native_math"),
}
MAX_SEED_OFFSET = 5
USUAL_QUANTIZE = ("qfloat8", "qfloat8-transformer", "qfloat8-te", "none")
"""What a preview is likely to have been rendered with; every other quantizer is tried after these."""
UNTRIED_QUANTIZERS = frozenset({"uint8", "qint4", "qint2", "qfloat8_e5m2", "qfloat8_e4m3fnuz"})
"""uint8 changes nothing, optimum-quanto compiles for minutes before the first use of qint4 and qint2, and
nobody trains with e5m2."""
LIMITS = Limits()
MAX_SEED = LIMITS.seed[1]
TYPED_SEEDS = (1, 2, 3, 7, 10, 100, 123, 1234, 1337, 12345)
"""Seeds that people type; a diagnosis renders only those of which a short render is near the preview."""


_SHORT = {"tokens": "max_sequence_length"}
"""Names that the command line takes for an axis beside its own."""


def find_axis(name: str) -> Axis:
    """Return the axis of that name; ``-`` counts as ``_``.

    Raises:
        HarnessError: no such axis; names the nearest one.
    """
    plain = name.strip().lower().replace("-", "_")
    plain = _SHORT.get(plain, plain)
    if plain not in AXES:
        raise unknown("axis", f"unknown axis {name!r}", plain, AXES)
    return AXES[plain]


def _set(field: str) -> Callable[[Context, RenderRequest, Value], RenderRequest]:
    def apply(_context: Context, request: RenderRequest, value: Value) -> RenderRequest:
        changes: dict[str, Any] = {field: value}
        return dataclasses.replace(request, **changes)

    return apply


def _field(
    name: str,
    family: Family,
    explanation: str,
    parse: Parse,
    candidates: Sequence[Value],
    *,
    field: str | None = None,
    default: str | None = None,
    problem: Callable[[Context, Value], str | None] | None = None,
) -> Axis:
    """Make an axis of one field of the request; where that is None, the spec's field ``default`` counts."""
    own = field or name

    def read(_context: Context, request: RenderRequest) -> Value:
        value: Value | None = getattr(request, own)
        return getattr(request.spec, default) if value is None and default else value  # type: ignore[return-value]

    axis = Axis(name, family, explanation, parse, _set(own), read, lambda _: list(candidates))
    return axis if problem is None else dataclasses.replace(axis, problem=problem)


def _shift(name: str, key: str, explanation: str, parse: Parse, candidates: Sequence[Value]) -> Axis:
    def apply(_context: Context, request: RenderRequest, value: Value) -> RenderRequest:
        changes: dict[str, Any] = {name: value}
        return dataclasses.replace(request, shift=dataclasses.replace(request.shift, **changes))

    def read(_context: Context, request: RenderRequest) -> Value:
        value: Value = request.shift.config(request.spec)[key]
        return value

    return Axis(name, Family.SCHEDULE, explanation, parse, apply, read, lambda _: list(candidates))


def _needs_lora(context: Context, _value: Value) -> str | None:
    return "the case has no LoRA" if context.request.lora is None else None


def _scheduler_problem(_context: Context, value: Value) -> str | None:
    reason = find_scheduler(str(value)).reason
    return f"not applicable: {reason}" if reason else None


def _cuda_only(context: Context, value: Value) -> str | None:
    return "it needs a GPU" if value == "cuda" and context.device != "cuda" else None


def _quantize_problem(_context: Context, value: Value) -> str | None:
    name, _ = quantizer_of(str(value))
    return None if name is None else missing(name)


def _quantize_candidates(context: Context) -> list[Value]:
    """Return what the job recorded, then the usual ones, then every other quantizer.

    Convrot and orbit are rare, and a job records its own: they are candidates where it did. The trainer
    quantizes T5 too, inference tools the transformer alone; those that sample as ComfyUI does merge the LoRA
    into plain layers. Where a GGUF is named, it may be of another type than was said.
    """
    trained = context.case.trained
    qtype = trained.qtype or trained.qtype_te
    recorded = recorded_settings(qtype, trained.quantize, trained.quantize_te)
    nodes = context.request.dialect.schedule is not None
    own, _ = quantizer_of(context.request.quantize)
    untried = UNTRIED_QUANTIZERS | (NAMED_ALONE if own is None or not own.startswith("gguf_") else set())
    others = [
        each.name if each.side == "trainer" else f"{each.name}-transformer"
        for each in QUANTIZERS.values()
        if not (
            each.name in untried or each.is_rotated or each.is_orbit or (nodes and each.side == "trainer")
        )
    ]
    found = [*recorded, *USUAL_QUANTIZE, *others]
    return list(dict.fromkeys(found))


def _lora_mode_candidates(context: Context) -> list[Value]:
    """Return the usual ways, or those that quantized weights take a LoRA in."""
    allowed = lora_modes(context.request.transformer_quantizer)
    if context.request.transformer_quantizer is None:
        return ["none", "adapter", "fp32", "fused"]
    return ["none", *(mode for mode in get_args(LoraMode) if mode in allowed and mode != "none")]


def _lora_mode_problem(context: Context, value: Value) -> str | None:
    quantizer = context.request.transformer_quantizer
    if value not in lora_modes(quantizer):
        stored = "an unquantized transformer" if quantizer is None else f"a transformer in {quantizer}"
        return f"{stored} takes its LoRA as {', '.join(sorted(lora_modes(quantizer)))} only"
    return _needs_lora(context, value)


def _seed_parse(text: str) -> Value:
    return text if text == "walk" or text[:1] in {"+", "-"} else integer("seed", 0, MAX_SEED)(text)


def _seed_apply(context: Context, request: RenderRequest, value: Value) -> RenderRequest:
    return dataclasses.replace(request, seed=_seed(context, value))


def _seed(context: Context, value: Value) -> int:
    own = context.case.settings.seed
    if value == "walk":
        return own + (context.case.preview.index or 0)
    if isinstance(value, str):
        return own + int(integer("seed", -(2**31), 2**31)(value.removeprefix("+")))
    return int(value)


def _seed_problem(context: Context, value: Value) -> str | None:
    if value == "walk" and context.case.preview.index is None:
        return "the case does not say which sample of its job it is"
    if (seed := _seed(context, value)) > MAX_SEED:
        return f"the seed would be above {MAX_SEED}"
    return "the seed would be below 0" if seed < 0 else None


def _seed_candidates(context: Context) -> list[Value]:
    own, index = context.case.settings.seed, context.case.preview.index or 0
    offsets = sorted(range(-MAX_SEED_OFFSET, MAX_SEED_OFFSET + 1), key=abs)
    near = [own + offset for offset in offsets]
    seeds = dict.fromkeys([own + index, own - index, *near, 0, 42, *TYPED_SEEDS])
    return [seed for seed in seeds if 0 <= seed <= MAX_SEED]


def _multiplier_apply(_context: Context, request: RenderRequest, value: Value) -> RenderRequest:
    assert request.lora is not None
    return dataclasses.replace(
        request, lora=dataclasses.replace(request.lora, network_multiplier=float(value))
    )


def _multiplier_read(_context: Context, request: RenderRequest) -> Value:
    return request.lora.network_multiplier if request.lora else 0.0


def _trigger_apply(context: Context, request: RenderRequest, value: Value) -> RenderRequest:
    return dataclasses.replace(request, prompt=prompts(context.case)[str(value)])


def _trigger_read(context: Context, request: RenderRequest) -> Value:
    return next((name for name, text in prompts(context.case).items() if text == request.prompt), "trained")


def _trigger_problem(context: Context, value: Value) -> str | None:
    known = prompts(context.case)
    if value in known:
        return None
    return (
        f"its prompt takes {', '.join(known)}"
        if len(known) > 1
        else "its prompt does not hold the trigger word"
    )


def _checkpoint_apply(context: Context, request: RenderRequest, value: Value) -> RenderRequest:
    assert request.lora is not None
    file, sha256 = checkpoints(context.case)[int(value)]
    return dataclasses.replace(request, lora=dataclasses.replace(request.lora, file=file, sha256=sha256))


def _checkpoint_read(context: Context, request: RenderRequest) -> Value:
    own = request.lora.sha256 if request.lora else None
    steps = [step for step, (_, sha256) in checkpoints(context.case).items() if sha256 == own]
    return steps[0] if steps else (request.lora.file.name if request.lora else "none")


def _checkpoint_problem(context: Context, value: Value) -> str | None:
    if context.request.lora is None:
        return "the case has no LoRA"
    known = checkpoints(context.case)
    return None if value in known else f"the steps beside it are {', '.join(map(str, sorted(known)))}"


def _noise_read(_context: Context, request: RenderRequest) -> Value:
    from harness.pipeline.noise import torch_era

    return torch_era() if request.noise == "auto" else request.noise


_ALL = (
    Axis("noise", Family.NOISE,
         "Era of the first latents: torch up to 2.11 (legacy) and later draw other noise from one seed.",
         choice("noise", ("current", "legacy")), _set("noise"), _noise_read,
         lambda _: ["legacy", "current"]),
    Axis("seed", Family.NOISE, "The seed itself, an offset (+1), or walk: the seed plus the sample's place.",
         _seed_parse, _seed_apply, lambda _, request: request.seed, _seed_candidates, _seed_problem),
    _field("generator", Family.NOISE, "Device whose generator draws the first latents.",
           choice("generator", ("cpu", "cuda")), ("cpu", "cuda"), problem=_cuda_only),
    _field("divisor", Family.NOISE, "Width and height are floored to a multiple of it, pixels.",
           lambda text: int(choice("divisor", ("8", "16", "32"))(text)), (16, 32), default="divisor"),
    Axis("trigger", Family.CONTENT, "Trigger word in the prompt: as trained, absent, literal, or a word.",
         str, _trigger_apply, _trigger_read,
         lambda context: list(prompts(context.case)), _trigger_problem),
    Axis("checkpoint", Family.CONTENT, "Training step of the LoRA: another checkpoint of the same job.",
         integer("checkpoint", 0, 10**9), _checkpoint_apply, _checkpoint_read,
         lambda context: list(checkpoints(context.case)), _checkpoint_problem),
    Axis("network_multiplier", Family.CONTENT, "Scale of the LoRA.",
         number("network_multiplier", *LIMITS.network_multiplier), _multiplier_apply, _multiplier_read,
         lambda _: [tenths / 10 for tenths in range(3, 16)], _needs_lora),
    _field("steps", Family.SAMPLING, "Denoising steps.", integer("steps", *LIMITS.sample_steps),
           (4, 6, 8, 10, 12, 15, 16, 20, 25, 28, 30), field="sample_steps"),
    _field("guidance_scale", Family.SAMPLING, "Embedded guidance.",
           number("guidance_scale", *LIMITS.guidance_scale), [halves / 2 for halves in range(2, 17)]),
    _field("scheduler", Family.SCHEDULE, "Solver and spacing of the sigmas.",
           lambda text: find_scheduler(text).name,
           tuple(each.name for each in SCHEDULERS.values() if each.applicable),
           problem=_scheduler_problem),
    _shift("dynamic_shifting", "use_dynamic_shifting", "Shift the sigmas by the image's size.",
           switch("dynamic_shifting"), (False, True)),
    _shift("shift", "shift", "Static shift of the sigmas; does nothing under dynamic shifting.",
           number("shift", 0.01, 100), (1.0, 2.0, 3.0, 5.0, 7.0)),
    _shift("base_shift", "base_shift", "Log of the dynamic shift at 256 tokens.",
           number("base_shift", -10, 10), [tenths / 10 for tenths in range(11)]),
    _shift("max_shift", "max_shift", "Log of the dynamic shift at 4096 tokens.",
           number("max_shift", -10, 10), [tenths / 10 for tenths in range(7, 17)]),
    Axis("quantize", Family.NUMERICS,
         "Weights as a quantizer stores them (harness schema lists them): transformer, T5 (te), both.",
         choice("quantize", SETTINGS), _set("quantize"), lambda _, request: request.quantize,
         _quantize_candidates, _quantize_problem),
    Axis("dtype", Family.NUMERICS, "Floating-point type of weights, activations and first latents.",
         choice("dtype", ("bf16", "fp16", "fp32")), _set("dtype"), lambda _, request: request.dtype or "auto",
         lambda _: ["fp32", "bf16", "fp16"]),
    Axis("lora_mode", Family.NUMERICS,
         "LoRA fused by PEFT, live in fp32 (adapter) or as PEFT does (peft), merged in fp32, or none; into "
         "quantized weights rounded to nearest (merged) or at random (stochastic).",
         choice("lora_mode", get_args(LoraMode)), _set("lora_mode"),
         lambda _, request: request.effective_lora_mode,
         _lora_mode_candidates, _lora_mode_problem),
    _field("max_sequence_length", Family.NUMERICS, "T5 tokens; padding is not masked, so it counts.",
           integer("max_sequence_length", 16, 512), (512, 256, 128), default="max_sequence_length"),
    _field("t5_attention", Family.NUMERICS, "T5's attention: eager up to transformers 5.14, then sdpa.",
           choice("t5_attention", ("eager", "sdpa")), ("sdpa", "eager")),
    Axis("attention", Family.NUMERICS, "Attention kernel: equally valid, rounded in other places.",
         choice("attention", ATTENTION["cuda"]), _set("attention"),
         lambda _, request: request.attention or "native", lambda context: list(ATTENTION[context.device]),
         lambda context, value: None if value in ATTENTION[context.device] else "it needs a GPU"),
)  # fmt: skip

_GRIDS = {
    "network_multiplier": Grid(0.05, *LIMITS.network_multiplier),
    "steps": Grid(1, *LIMITS.sample_steps, inverse=True),
    "guidance_scale": Grid(0.1, *LIMITS.guidance_scale),
    "shift": Grid(0.1, 0.1, 20),
    "base_shift": Grid(0.05, -2, 3),
    "max_shift": Grid(0.05, -2, 3),
}

AXES: Mapping[str, Axis] = MappingProxyType(
    {axis.name: dataclasses.replace(axis, grid=_GRIDS.get(axis.name)) for axis in (*DIALECT_AXES, *_ALL)}
)

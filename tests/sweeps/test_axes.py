from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.importers.aitoolkit import import_job
from harness.runs.plan import RunOptions, request_of
from harness.runs.planned import Planned
from harness.schema.case import Case
from harness.schema.quantizers import NAMED_ALONE
from harness.sweeps.axes import AXES, find_axis
from harness.sweeps.axis import Context, checkpoints, prompts
from harness.sweeps.axis_values import show
from harness.sweeps.dialect_axes import DIALECT_AXES
from harness.sweeps.equal_renders import effective, why_same
from harness.sweeps.grid import parse_axis


@pytest.fixture(scope="session")
def cases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return import_job(jobs["simple"], out=tmp_path_factory.mktemp("axes") / "cases").cases


@pytest.fixture
def context(cases: list[Case]) -> Context:
    case = next(case for case in cases if case.preview.step == 20 and case.preview.index == 0)
    return Context(case, request_of(case, RunOptions(), "cpu"), "cpu")


@pytest.mark.parametrize("name", AXES)
def test_every_candidate_prints_parses_applies_and_reads_back(context: Context, name: str) -> None:
    axis = AXES[name]
    values = [value for value in axis.candidates(context) if axis.problem(context, value) is None]
    assert values or axis in DIALECT_AXES
    for value in values:
        parsed = axis.parse(show(value))
        assert parsed == value
        assert axis.read(context, axis.apply(context, context.request, parsed)) == value
    assert axis.explanation.endswith(".")


def test_every_quantizer_is_a_candidate_and_says_how_it_takes_a_lora(context: Context) -> None:
    quantize, mode = AXES["quantize"], AXES["lora_mode"]
    values = quantize.candidates(context)
    assert values[:4] == ["qfloat8", "qfloat8-transformer", "qfloat8-te", "none"]
    assert {"uint4", "nvfp4", "int8", "fp8_e5m2-transformer", "nf4-transformer"} <= set(values)
    assert len(values) == len(set(values))
    comfy = AXES["dialect"].apply(context, context.request, "comfyui")
    inside = quantize.candidates(dataclasses.replace(context, request=comfy))
    assert "uint4" not in inside
    assert "gguf_q8_0-transformer" in inside
    assert not {f"{name}-transformer" for name in NAMED_ALONE} & {*values, *inside}
    named = quantize.apply(context, context.request, "gguf_q4_k_m-transformer")
    beside = quantize.candidates(dataclasses.replace(context, request=named))
    assert {f"{name}-transformer" for name in NAMED_ALONE} < set(beside)
    request = quantize.apply(context, context.request, "fp8_e4m3fn-transformer")
    quantized = dataclasses.replace(context, request=request)
    assert {"merged", "stochastic", "fp32", "adapter"} <= set(mode.candidates(quantized))
    assert mode.problem(quantized, "fused") is not None
    assert "merged" not in mode.candidates(context)


def test_a_quantizer_that_rotates_is_a_candidate_where_the_job_recorded_it(context: Context) -> None:
    quantize = AXES["quantize"]
    assert not any("convrot" in str(value) for value in quantize.candidates(context))
    trained = context.case.trained.model_copy(
        update={"quantize": True, "quantize_te": True, "qtype": "convrotint4"}
    )
    case = context.case.model_copy(update={"trained": trained})
    values = quantize.candidates(dataclasses.replace(context, case=case))
    assert values[:3] == ["convrotint4", "convrotint4_a16", "qfloat8"]
    assert not any("convrot" in str(value) for value in values[2:])
    assert quantize.parse("convrot8_a16-te") == "convrot8_a16-te"
    assert quantize.problem(context, "convrot4") is None


def test_the_reference_variant_keeps_its_key(context: Context) -> None:
    """Rows of runs before variants existed stay valid: a field at its default is not hashed."""
    plain = Planned(context.case, context.request)
    assert plain.key == Planned(context.case, dataclasses.replace(context.request)).key
    changed = [
        dataclasses.replace(context.request, noise="legacy"),
        AXES["shift"].apply(context, context.request, 7.0),
    ]
    assert len({plain.key, *(Planned(context.case, request).key for request in changed)}) == 3


def test_seed_takes_offsets_and_walks(cases: list[Case]) -> None:
    case = next(case for case in cases if case.preview.index == 1 and case.incomparable is None)
    context = Context(case, request_of(case, RunOptions(), "cpu"), "cpu")
    seeds = [AXES["seed"].apply(context, context.request, value).seed for value in ("+2", "-3", "walk", 7)]
    own = case.settings.seed
    assert seeds == [own + 2, own - 3, own + 1, 7]
    assert AXES["seed"].problem(context, f"-{own + 1}") == "the seed would be below 0"


def test_no_seed_is_above_what_torch_takes(cases: list[Case]) -> None:
    """As --seed -1 in a prompt: torch takes it for the largest."""
    case, largest = cases[0], 2**64 - 1
    settings = case.settings.model_copy(update={"seed": largest})
    context = Context(
        case.model_copy(update={"settings": settings}), request_of(case, RunOptions(), "cpu"), "cpu"
    )
    axis = AXES["seed"]
    assert axis.parse(str(largest)) == largest
    assert axis.problem(context, "+1") == f"the seed would be above {largest}"
    assert max(int(seed) for seed in axis.candidates(context)) == largest


def test_trigger_values_are_prompts(context: Context) -> None:
    found = prompts(context.case)
    assert found == {
        "trained": "portrait photo of tr1gg3r, black hat, studio light",
        "absent": "portrait photo of, black hat, studio light",
        "literal": "portrait photo of [trigger], black hat, studio light",
    }


def test_checkpoints_are_the_jobs_own(context: Context) -> None:
    assert sorted(checkpoints(context.case)) == [10, 20, 30]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sheduler", r"unknown axis 'sheduler'; did you mean 'scheduler'\?"),
        ("guidance", r"unknown axis 'guidance'; did you mean 'guidance_scale'\?"),
        ("xyzzy", r"unknown axis 'xyzzy'; choose dialect, schedule, "),
    ],
)
def test_an_unknown_axis_names_the_nearest(text: str, line: str) -> None:
    with pytest.raises(HarnessError, match=line):
        find_axis(text)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("scheduler", "UniPCC", r"scheduler: unknown scheduler 'UniPCC'; did you mean 'UniPC'\?"),
        ("noise", "legcy", r"noise: unknown value 'legcy'; did you mean 'legacy'\?"),
        ("steps", "12.5", r"steps: '12.5' is no whole number from 1 to 150"),
        ("guidance_scale", "nan", r"guidance_scale: 'nan' is no number from 0 to 20"),
        ("dynamic_shifting", "maybe", r"dynamic_shifting: unknown value 'maybe'; write on or off"),
        ("quantize", "qfloat9", r"quantize: unknown value 'qfloat9'; did you mean 'qfloat8'\?"),
        ("seed", "+x", r"seed: "),
    ],
)
def test_an_unknown_value_is_one_line(context: Context, name: str, text: str, line: str) -> None:
    with pytest.raises(HarnessError, match=line):
        AXES[name].problem(context, AXES[name].parse(text))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"shift": 7.0}, "a static shift does nothing while dynamic shifting is on"),
        ({"divisor": 16}, "both floor to the same size"),
        ({"attention": "native"}, "native is the kernel in use already"),
        ({"lora_mode": "fused"}, "the LoRA reaches the weights in the same way"),
        ({"max_sequence_length": 512}, "it is the model's own length"),
    ],
)
def test_equal_renders_are_known_before_rendering(
    context: Context, settings: dict[str, object], why: str
) -> None:
    ((name, value),) = settings.items()
    request = AXES[name].apply(context, context.request, value)  # type: ignore[arg-type]
    assert effective(request, "cpu") == effective(context.request, "cpu")
    assert why in why_same(request, context.request)


def test_both_eras_are_one_in_fp32(context: Context) -> None:
    fp32 = dataclasses.replace(context.request, dtype="fp32")
    legacy = dataclasses.replace(fp32, noise="legacy")
    assert effective(fp32, "cpu") == effective(legacy, "cpu")
    assert effective(context.request, "cpu") != effective(dataclasses.replace(legacy, dtype="bf16"), "cpu")


@pytest.mark.parametrize(
    "text",
    [
        "dialect=comfyui,forge",
        "schedule=comfy-beta,model",
        "blanks=flextools",
        "latents=fp32",
        "timestep=fp32",
        "rounding=truncate",
        "tokens=256",
    ],
)
def test_the_ways_of_other_tools_are_axes(context: Context, text: str) -> None:
    name, values = parse_axis(text)
    for value in values:
        made = AXES[name].apply(context, context.request, value)
        assert AXES[name].read(context, made) == value
        assert made != context.request or value == "model"


def test_what_is_set_beside_a_dialect_goes_on_top_of_it(context: Context) -> None:
    request = context.request
    for name, value in (
        ("dialect", "comfyui"),
        ("schedule", "comfy-beta"),
        ("blanks", "zero"),
        ("kernels", "diffusers"),
    ):
        request = AXES[name].apply(context, request, value)
    assert (request.dialect.schedule, request.dialect.blanks) == ("comfy-beta", "zero")
    assert AXES["dialect"].read(context, request) == "forge"

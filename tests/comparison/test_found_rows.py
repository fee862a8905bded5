"""What a search found, in a case file's words."""

from __future__ import annotations

import pytest

from harness.comparison.found_rows import found_rows
from harness.importers.image_metadata.inference_settings import Scalar
from harness.pipeline.dialects import in_dialect
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.sweeps.axis import Context

Cases = dict[tuple[int, int], Case]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 28, "guidance_scale": 3.5}, {"sample_steps": 28, "guidance_scale": 3.5}),
        ({"network_multiplier": 0.0, "max_sequence_length": 512}, {"lora": "none"}),
        ({"lora_mode": "none"}, {"lora": "none"}),
        ({"trigger": "literal"}, {"prompt": "[trigger] a large cat on a white background"}),
        ({"checkpoint": 100}, {"lora": "step 100"}),
        ({"dynamic_shifting": False}, {"shift": "dynamic_shifting off"}),
        ({"attention": "_native_math"}, {}),
    ],
)
def test_axes_are_named_as_the_case_file_names_them(
    settings: dict[str, Scalar], named: dict[str, Scalar], cases: Cases
) -> None:
    context = Context(cases[300, 0], request_of(cases[300, 0], RunOptions(), "cpu"), "cpu")
    rows = found_rows(cases[300, 0], context, context.request, settings, "reference")
    assert {row.setting: row.inference for row in rows} == named


def test_the_ways_of_a_dialect_are_not_differences(cases: Cases) -> None:
    context = Context(cases[300, 0], request_of(cases[300, 0], RunOptions(), "cpu"), "cpu")
    rows = found_rows(cases[300, 0], context, in_dialect(context.request, "comfyui"), {}, "comfyui")
    assert {row.state.value for row in rows} == {"tool"}
    assert {row.setting for row in rows} == {
        "blanks", "max_sequence_length", "schedule", "shift", "latents", "timestep", "rounding", "kernels",
        "lora_mode",
    }  # fmt: skip

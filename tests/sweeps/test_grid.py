from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.pipeline.schedulers import SCHEDULERS
from harness.sweeps.axes import AXES
from harness.sweeps.grid import PRESETS, Variant, parse_axis, preset, product, read_grid


def names(variants: list[Variant]) -> list[str]:
    return [variant.name for variant in variants]


def test_axes_are_combined_in_one_order() -> None:
    variants = product([parse_axis("steps=20,25"), parse_axis("scheduler=unipc")])
    assert names(variants) == ["steps=20,scheduler=UniPC", "steps=25,scheduler=UniPC"]


def test_repeated_values_count_once() -> None:
    assert parse_axis("shift=3,3.0, 1") == ("shift", [3.0, 1.0])


def test_a_grid_file(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("axes: {shift: [1, 3.5], dynamic_shifting: [off]}\n")
    assert names(read_grid(file)) == ["dynamic_shifting=off,shift=1", "dynamic_shifting=off,shift=3.5"]
    file.write_text("axes: {shift: [1, 3.5], steps: [20]}\ncombine: single\n")
    assert names(read_grid(file)) == ["shift=1", "shift=3.5", "steps=20"]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("", r"grid\.yaml: is empty; map axes to lists of values"),
        ("axes: {}", r"grid\.yaml: axes: the grid is empty"),
        ("axes: {shift: []}", r"grid\.yaml: shift: has no values"),
        ("axes: {shft: [1]}", r"grid\.yaml: axis: unknown axis 'shft'; did you mean 'shift'\?"),
        ("axis: {shift: [1]}", r"grid\.yaml: axis: unknown key; did you mean 'axes'\?"),
        ("axes: {shift: 1}", r"grid\.yaml: shift: 1 is no list; write \[1, 3, 7\]"),
        ("axes: {shift: [[1]]}", r"grid\.yaml: shift: \[1\] is no value"),
        ("axes: {steps: [many]}", r"grid\.yaml: steps: 'many' is no whole number"),
        ("axes: {shift: [1]}\ncombine: prodct", r"combine: unknown value 'prodct'; did you mean 'product'\?"),
        ("axes: {shift: [1]}\ncombine: {a: b}", r"combine: unknown value \{'a': 'b'\}"),
        ("- 1", r"grid\.yaml: holds list, not a mapping"),
        ("axes: {shift: [1], shift: [2]}", r"grid\.yaml: is not valid YAML \(key 'shift' appears twice"),
        ("axes: [", r"grid\.yaml: is not valid YAML"),
    ],
)
def test_a_bad_grid_file_is_one_line(tmp_path: Path, body: str, line: str) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(body)
    with pytest.raises(HarnessError, match=line) as caught:
        read_grid(file)
    assert "\n" not in str(caught.value)


def test_a_grid_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read"):
        read_grid(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("shift", r"--axis: 'shift' is not NAME=V1,V2"),
        ("shift=", r"shift: has no values"),
        ("shiftt=1", r"did you mean 'shift'\?"),
    ],
)
def test_a_bad_axis_option_is_one_line(text: str, line: str) -> None:
    with pytest.raises(HarnessError, match=line):
        parse_axis(text)


def test_an_axis_twice_or_none_is_refused() -> None:
    with pytest.raises(HarnessError, match="shift is given twice"):
        product([parse_axis("shift=1"), parse_axis("shift=2")])
    with pytest.raises(HarnessError, match="the grid is empty"):
        product([])


def test_presets_hold_what_they_say() -> None:
    assert names(preset("scheduler")) == [f"scheduler={name}" for name in SCHEDULERS]
    assert len(names(preset("all"))) == sum(len(preset(name)) for name in PRESETS[:-1])
    assert len(set(names(preset("all")))) == len(preset("all"))
    with pytest.raises(HarnessError, match=r"unknown preset 'shedule'; did you mean 'scheduler'\?"):
        preset("shedule")


SEEDS = st.lists(st.integers(0, 2**31), min_size=1, max_size=4)
STEPS = st.lists(st.integers(1, 150), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(SEEDS, STEPS)
def test_a_grid_renders_each_combination_once(seeds: list[int], steps: list[int]) -> None:
    axes = [parse_axis(f"seed={','.join(map(str, seeds))}"), parse_axis(f"steps={','.join(map(str, steps))}")]
    made = product(axes)
    assert len(made) == len(set(seeds)) * len(set(steps)) == len(set(names(made)))


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=5, unique=True))
def test_two_values_never_share_a_name(values: list[float]) -> None:
    made = product([parse_axis(f"shift={','.join(map(repr, values))}")])
    assert len(set(names(made))) == len(values)


def test_a_number_of_5000_digits_is_one_line() -> None:
    with pytest.raises(HarnessError, match="is no whole number from"):
        parse_axis(f"seed={'1' * 5000}")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(AXES)), st.text(max_size=30))
def test_any_axis_value_is_taken_or_refused_in_one_line(axis: str, value: str) -> None:
    said = ""
    try:
        made = product([parse_axis(f"{axis}={value}")])
    except HarnessError as error:
        made, said = [], str(error)
    assert "\n" not in said
    assert [names(product([parse_axis(name)])) for name in names(made)] == [[name] for name in names(made)]

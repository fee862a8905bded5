from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schema.trainer_prompt import FLAGS, ParsedPrompt, inject_trigger, parse_prompt

WHOLE = {
    "w": "width",
    "h": "height",
    "d": "seed",
    "seed": "seed",
    "s": "sample_steps",
    "steps": "sample_steps",
    "frames": "num_frames",
    "num_frames": "num_frames",
    "fps": "fps",
    "ctrl_idx": "ctrl_idx",
}
REAL = {
    "l": "guidance_scale",
    "cfg": "guidance_scale",
    "m": "network_multiplier",
    "network_multiplier": "network_multiplier",
    "gr": "guidance_rescale",
    "a": "adapter_scale",
    "ref": "refiner_start",
}
TEXT = {"n": "neg", "n2": "neg_2", "p2": "prompt_2", "ctrl_img": "ctrl_img"}

words = st.text(st.characters(codec="utf-8", exclude_characters="-", exclude_categories=["Cs"]), max_size=40)
whole = st.tuples(st.sampled_from(sorted(WHOLE)), st.integers(-(10**6), 10**6))
real = st.tuples(st.sampled_from(sorted(REAL)), st.floats(-50, 50).map(lambda x: abs(round(x, 3))))
text = st.tuples(st.sampled_from(sorted(TEXT)), words.map(str.strip))


def test_every_flag_of_the_trainer_is_known() -> None:
    assert {*WHOLE, *REAL, *TEXT, "ev", "extra_values"} == FLAGS


@given(words, st.lists(whole | real | text, max_size=6))
def test_flags_set_fields_and_the_last_one_wins(
    prompt: str, flags: list[tuple[str, int | float | str]]
) -> None:
    expected: dict[str, object] = {}
    line = prompt
    for flag, value in flags:
        line += f" --{flag} {value}"
        expected[(WHOLE | REAL | TEXT)[flag]] = value
    assert parse_prompt(line) == ParsedPrompt(prompt.strip(), expected)


@given(words, words.filter(lambda word: word.split(" ")[0].strip() not in FLAGS))
def test_unknown_flags_are_dropped_with_their_text(prompt: str, junk: str) -> None:
    parsed = parse_prompt(f"{prompt} --{junk} --w 96")
    assert parsed.prompt == prompt.strip()
    assert parsed.fields == {"width": 96}
    assert parsed.dropped == (junk.strip(),)


@given(words)
def test_a_prompt_without_dashes_stays_whole(prompt: str) -> None:
    assert parse_prompt(prompt) == ParsedPrompt(prompt.strip(), {})


@given(st.text(max_size=60))
def test_what_is_left_never_holds_a_flag(line: str) -> None:
    try:
        parsed = parse_prompt(line)
    except ValueError:
        return
    assert "--" not in parsed.prompt
    assert parsed.prompt == parsed.prompt.strip()
    assert parse_prompt(parsed.prompt) == ParsedPrompt(parsed.prompt, {})


@pytest.mark.parametrize(
    ("line", "prompt", "fields"),
    [
        ("a cat --w 96 --h 160 --seed 7", "a cat", {"width": 96, "height": 160, "seed": 7}),
        ("a cat--w 96", "a cat", {"width": 96}),
        ("a cat --w  96 ", "a cat", {"width": 96}),
        ("a cat --W 96", "a cat", {}),
        ("a cat --w\t96", "a cat", {}),
        ("a cat -- film grain", "a cat", {}),
        ("a cat --- w 96", "a cat", {}),
        ("a well-lit cat - soft", "a well-lit cat - soft", {}),
        ("--n ugly --cfg 3", "", {"neg": "ugly", "guidance_scale": 3.0}),
        ("a --seed 1 --d 2", "a", {"seed": 2}),
        ("a --ev 1,2.5", "a", {"extra_values": "1,2.5"}),
        ("", "", {}),
    ],
)
def test_by_example(line: str, prompt: str, fields: dict[str, object]) -> None:
    parsed = parse_prompt(line)
    assert (parsed.prompt, parsed.fields) == (prompt, fields)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a --s 25.0", "flag --s takes a whole number, found '25.0'"),
        ("a --steps", "flag --steps takes a whole number, found ''"),
        ("a --w 96px", "flag --w takes a whole number, found '96px'"),
        ("a --cfg high", "flag --cfg takes a number, found 'high'"),
        ("a --ev 1,,2", "flag --ev takes a number, found '1,,2'"),
    ],
)
def test_values_that_stop_the_trainer(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^flag") as error:
        parse_prompt(line)
    assert str(error.value) == said


@given(words, st.text("abcdefghij ", min_size=1))
def test_trigger_is_replaced_everywhere_and_never_added(rest: str, trigger: str) -> None:
    line = f"[trigger] {rest} [name]"
    assert inject_trigger(line, trigger) == f"{trigger} {inject_trigger(rest, trigger)} {trigger}"
    assert inject_trigger(line, None) == line
    plain = rest.replace("[", "")
    assert inject_trigger(plain, trigger) == plain


def test_trigger_comes_before_the_flags() -> None:
    assert parse_prompt(inject_trigger("a [trigger]", "x --w 96")).fields == {"width": 96}

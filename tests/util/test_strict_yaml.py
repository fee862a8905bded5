"""YAML that tries to take the memory, the stack, or to say two things; every refusal is a ``YAMLError``."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness._util.strict_yaml import MAX_BYTES, read_yaml, read_yaml_file, write_yaml
from harness.errors import CaseError, HarnessError, JobError
from harness.importers.aitoolkit.config_file import load_config
from harness.schema.case import load_case
from harness.sweeps.grid import read_grid

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(9)
)

HOSTILE = {
    "billion laughs": (LAUGHS, "values"),
    "an alias inside itself": ("a: &a [*a]\n", "is inside what it names"),
    "an alias of nothing": ("a: *b # &\n", "names nothing"),
    "deep lists": ("a: " + "[" * 60 + "]" * 60 + " # &\n", "nested more than 50 deep"),
    "deep dashes": ("- " * 5000 + "a\n", "nested more than 50 deep"),
    "deeper than the stack": ("a: " + "[" * 100_000, "nest"),
    "many values": ("- a\n" * 200_001, "more than 200000 values"),
    "a large file": ("# " + "x" * MAX_BYTES, "larger than 4 MiB"),
    "a date that is none": ("a: 2026-99-99\n", "month must be in 1..12"),
    "an integer of 5,000 digits": (f"a: {'1' * 5000}\n", "4300 digits"),
    "a tag that does not fit": ("a: !!bool maybe\n", "KeyError"),
    "a timestamp that does not fit": ("a: !!timestamp now\n", "AttributeError"),
    "a list as a key": ("? [a]\n: b\n", "unhashable"),
    "a Python object": ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    "a key twice": ("a: 1\na: 2\n", "appears twice"),
    "two documents": ("a: 1\n---\nb: 2\n", "single document"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_at_once(name: str) -> None:
    text, said = HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(yaml.YAMLError, match=said):
        read_yaml(text)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", HOSTILE)
def test_every_reader_of_yaml_says_it_in_one_line(tmp_path: Path, name: str) -> None:
    text, _ = HOSTILE[name]
    for file, read in (("a.case.yaml", load_case), ("config.yaml", load_config), ("grid.yaml", read_grid)):
        path = tmp_path / file
        path.write_text(text)
        with pytest.raises(HarnessError) as caught:
            read(tmp_path if file == "config.yaml" else path)
        line = str(caught.value)
        assert "\n" not in line
        assert len(line) < 1000


def test_a_value_that_stands_for_much_is_shown_short(tmp_path: Path) -> None:
    lists = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 8)}]\n" for n in range(5))
    (tmp_path / "a.case.yaml").write_text("a0: &a0 [x]\n" + lists + "id: *a5\n")
    with pytest.raises(CaseError) as caught:
        load_case(tmp_path / "a.case.yaml")
    assert len(str(caught.value)) < 1000


def test_aliases_as_ai_toolkit_writes_them_are_read(tmp_path: Path) -> None:
    shared = {"a": 1}
    assert read_yaml(yaml.safe_dump({"x": shared, "y": shared})) == {"x": shared, "y": shared}


@pytest.mark.parametrize(("name", "kind"), [("a.case.yaml", CaseError), ("config.yaml", JobError)])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str, kind: type[HarnessError]) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(kind, match="not a regular file"):
        (load_config if name == "config.yaml" else load_case)(tmp_path / name)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)


@settings(max_examples=50)
@given(PLAIN)
def test_what_was_written_is_read_back(data: object) -> None:
    assert read_yaml(write_yaml(data)) == data


@settings(max_examples=200)
@given(st.text(alphabet="ab0:-[]{}&*!?|>'\"%@`#,\n \t<~.eE+_", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(yaml.YAMLError):
        read_yaml(text)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.case.yaml"
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(OSError, match="larger than 4 MiB"):
        read_yaml_file(file)

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.fuzz import Tally, mutated
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_changed_bytes_give_a_value_or_one_line(name: str, tmp_path: Path) -> None:
    target = TARGETS[name](tmp_path)
    tally = Tally("tally", tmp_path, target.read)
    for sample in target.corpus:
        tally(sample)
    assert tally.refused < len(target.corpus), "no genuine file was read"
    draw = random.Random(1)
    for _ in range(20):
        tally(mutated(draw, target.corpus))
    assert not tally.places

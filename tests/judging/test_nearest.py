"""Where a preview lies between two renders, from their scores alone."""

from __future__ import annotations

import pytest

from harness.judging.nearest import describe, place_of
from harness.schema.result import NearestCheckpoints
from tests.judging.rows import scores


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [(0.1, 0.2, "bracketed"), (0.5, 0.44, "bracketed"), (0.5, 0.46, "outside"), (0.9, 0.1, "bracketed")],
)
def test_outside_is_much_farther_from_both_than_they_are_apart(
    before: float, after: float, place: str
) -> None:
    found = [scores(0.9, lpips=lpips) for lpips in (before, after, 0.3)]
    assert place_of(*found) == place


def test_one_neighbour_alone_has_no_place() -> None:
    said = describe(NearestCheckpoints(steps=(100,), scores=(scores(0.9, lpips=0.1),)))
    assert said == "nearest checkpoints: step 100 SSIM 0.9000 LPIPS 0.1000"

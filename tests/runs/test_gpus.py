from __future__ import annotations

import pytest

from harness.errors import DeviceError
from harness.runs.gpus import choose_gpus


@pytest.mark.parametrize(("wanted", "chosen"), [("all", ("2", "5")), ("1", ("2",)), ("2", ("2", "5"))])
def test_gpus_are_chosen_among_the_visible_ones(
    monkeypatch: pytest.MonkeyPatch, wanted: str, chosen: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert choose_gpus(wanted) == chosen


@pytest.mark.parametrize(
    ("wanted", "visible", "said"),
    [
        ("3", "2,5", "asked for 3, and 2 are visible"),
        ("all", "", "asked for any, and 0 are visible"),
        ("all", "-1", "asked for any, and 0 are visible"),
        ("2", "2,-1,5", "asked for 2, and 1 are visible"),
        ("0", "2,5", "'0' is no number of GPUs"),
        ("some", "2,5", "'some' is no number of GPUs"),
    ],
)
def test_gpus_that_are_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, wanted: str, visible: str, said: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(DeviceError, match=said):
        choose_gpus(wanted)

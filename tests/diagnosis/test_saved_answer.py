from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.diagnosis.saved_answer import save_answer
from harness.metrics.images import load_rgb


def test_pictures_lie_beside_the_answer_in_the_order_of_the_path(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 30, 3), dtype=np.uint8) for _ in range(3)]
    steps = [{"settings": str(number), "distance": 0.0} for number in range(3)]
    found: Any = SimpleNamespace(
        path=[SimpleNamespace(image=image) for image in images], to_json=lambda: {"path": steps}
    )
    save_answer(found, tmp_path / "said.json")
    said = json.loads((tmp_path / "said.json").read_text())
    assert [step["picture"] for step in said["path"]] == [f"said/{number}.png" for number in range(3)]
    for step, image in zip(said["path"], images, strict=True):
        assert np.array_equal(load_rgb(tmp_path / step["picture"]), image)

"""Case files written for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import CaseError
from harness.schema.case import load_case


def contents(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "job/000000010_0",
        "base": {"embedded": "tiny-flex2-emoji"},
        "preview": {"file": "previews/a.jpg", "sha256": "0" * 64, "width": 64, "height": 96, "step": 10},
        "lora": {"file": "loras/a.safetensors", "sha256": "1" * 64, "network_multiplier": 0.7},
        "settings": {"prompt": "a cat", "width": 64, "height": 96, "seed": 3},
    }
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        place = fields
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return fields


def written(folder: Path, name: str = "a.case.yaml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(contents(**changes)))
    return path


def refused(path: Path) -> str:
    with pytest.raises(CaseError) as caught:
        load_case(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line

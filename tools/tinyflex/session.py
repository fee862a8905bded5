"""One training run: its folder, clock, log and resumable state."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

SAVE_EVERY = 60.0


class Clock:
    """Wall-clock budget of one stage; ``progress`` runs from 0 to 1."""

    def __init__(self, seconds: float, spent: float = 0.0) -> None:
        self.seconds = seconds
        self._start = time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds used so far, earlier runs included."""
        return time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """Share of the budget used, at most 1."""
        return min(1.0, self.spent / self.seconds)

    def rate(self, peak: float, step: int, warm_up: int = 200) -> float:
        """Return the learning rate: linear warm-up in steps, then a cosine to 1 % over the budget."""
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * self.progress)) / 2
        return peak * min(1.0, (step + 1) / warm_up) * cosine


class Session:
    """A folder that holds a run's log (``log.jsonl``), state (``state.pt``) and pictures."""

    def __init__(self, folder: Path, device: str, resume: bool) -> None:
        self.folder = folder
        self.device = device
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "state.pt"
        self.state: dict[str, Any] = {}
        if resume and file.is_file():
            self.state = torch.load(file, map_location="cpu", weights_only=True)
        self._saved = time.monotonic()

    def done(self, stage: str) -> bool:
        """Whether an earlier run finished this stage."""
        return bool(self.state.get(stage, {}).get("done"))

    def log(self, stage: str, **values: Any) -> None:
        """Print a line and append it to the log."""
        row = {"stage": stage, **{k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}}
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved > SAVE_EVERY

    def save(self, stage: str, values: dict[str, Any]) -> None:
        """Write the state with this stage's values, whole or not at all."""
        self.state[stage] = values
        partial = self.folder / "state.pt.part"
        torch.save(self.state, partial)
        partial.replace(self.folder / "state.pt")
        self._saved = time.monotonic()

"""The loop of stages 3 and 4: optimizers, moving average, log, state to go on from, previews."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .components import Models
from .session import Clock, Session

EMA_DECAY = 0.998
FLOW_PARTS = ("transformer", "text_encoder", "text_encoder_2")
SECOND_BATCH_AFTER = 0.85
_LOG_EVERY = 100
_MATRICES = ("transformer_blocks.", "encoder.layers.", "encoder.block.")

Batches = tuple[int, int]
"""Scenes a step, at first and after SECOND_BATCH_AFTER of the time."""


def weights_of(models: Models) -> dict[str, Any]:
    """Return copies of the trained networks' state dicts."""
    return {part: copy.deepcopy(models.parts()[part].state_dict()) for part in FLOW_PARTS}


def load_weights(models: Models, weights: dict[str, Any]) -> None:
    """Load what :func:`weights_of` returned."""
    for part in FLOW_PARTS:
        models.parts()[part].load_state_dict(weights[part])


def parameters_of(models: Models) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the trained networks' named parameters."""
    for part in FLOW_PARTS:
        yield from models.parts()[part].named_parameters()


class Ema:
    """An exponential moving average of the trained networks' weights."""

    def __init__(self, models: Models) -> None:
        self.models = copy.deepcopy(models).to(str(next(models.transformer.parameters()).device))
        self._kept = [p.detach() for _, p in parameters_of(self.models)]
        self._live = [p.detach() for _, p in parameters_of(models)]

    def update(self, step: int) -> None:
        """Move towards the live weights; faster during the first steps."""
        torch._foreach_lerp_(self._kept, self._live, 1 - min(EMA_DECAY, (step + 1) / (step + 10)))


class Optimizers:
    """Muon for the matrices inside blocks, AdamW for all else, at one learning rate."""

    def __init__(self, models: Models) -> None:
        matrices, tables, vectors = [], [], []
        for name, parameter in parameters_of(models):
            if parameter.ndim != 2:
                vectors.append(parameter)
            elif any(part in name for part in _MATRICES) and "relative" not in name:
                matrices.append(parameter)
            else:
                tables.append(parameter)
        self.parameters = matrices + tables + vectors
        fused = self.parameters[0].is_cuda
        groups = [{"params": tables, "weight_decay": 1e-2}, {"params": vectors, "weight_decay": 0.0}]
        self.all = (
            torch.optim.Muon(matrices, lr=0.0, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=fused),
        )

    def step(self, rate: float) -> None:
        """Clip gradients to norm 1, move at this learning rate, drop the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        """Return what :meth:`load` takes."""
        return [optimizer.state_dict() for optimizer in self.all]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Go on from an earlier state."""
        for optimizer, values in zip(self.all, state, strict=True):
            optimizer.load_state_dict(values)


class Loop:
    """Trains one stage for a time, from where an earlier run stopped."""

    def __init__(
        self,
        stage: str,
        models: Models,
        session: Session,
        preview: Callable[[Models, str], None],
        kept: dict[str, Any],
    ) -> None:
        """``kept`` is saved with the state."""
        self.stage, self.models, self.session, self.preview, self.kept = stage, models, session, preview, kept
        self.state = session.state.get(stage, {})
        if "ema" in self.state:
            load_weights(models, self.state.get("raw", self.state["ema"]))
        self.ema = Ema(models)
        if "ema" in self.state:
            load_weights(self.ema.models, self.state["ema"])
        self.optimizers = Optimizers(models)
        if "optimizers" in self.state:
            self.optimizers.load(self.state["optimizers"])

    def run(self, seconds: float, batches: Batches, peak: float, loss: Callable[[int], Tensor]) -> None:
        """Train and leave the averaged weights in the models; ``loss`` takes the scenes of a step."""
        if not self.session.done(self.stage):
            loss(batches[0]).backward()  # type: ignore[no-untyped-call]  # compiles: not counted
            self.session.log(self.stage, compiled=True)
            self._train(Clock(seconds, self.state.get("spent", 0.0)), batches, peak, loss)
        load_weights(self.models, weights_of(self.ema.models))

    def _train(self, clock: Clock, batches: Batches, peak: float, loss: Callable[[int], Tensor]) -> None:
        first = step = int(self.state.get("step", 0))
        scenes = int(self.state.get("scenes", 0))
        running = torch.zeros((), device=self.optimizers.parameters[0].device)
        while clock.progress < 1:
            batch = batches[clock.progress > SECOND_BATCH_AFTER]
            value = loss(batch)
            value.backward()  # type: ignore[no-untyped-call]
            self.optimizers.step(clock.rate(peak, step - first))
            self.ema.update(step)
            running = running.lerp(value.detach(), 0.02 if step > first else 1.0)
            step, scenes = step + 1, scenes + batch
            if step % _LOG_EVERY == 0:
                self._log(step, scenes, clock, running)
            if self.session.due():
                self._save(step, scenes, clock, done=False)
        self._log(step, scenes, clock, running)
        self._save(step, scenes, clock, done=True)

    def _log(self, step: int, scenes: int, clock: Clock, running: Tensor) -> None:
        self.session.log(self.stage, step=step, scenes=scenes, spent=clock.spent, loss=running.item())
        if not running.isfinite():
            raise SystemExit(f"{self.stage}: the loss is not finite at step {step}; lower the learning rate")

    def _save(self, step: int, scenes: int, clock: Clock, *, done: bool) -> None:
        values = {"step": step, "scenes": scenes, "ema": weights_of(self.ema.models), "spent": clock.spent}
        values |= self.kept | {"done": done}
        if not done:
            values |= {"raw": weights_of(self.models), "optimizers": self.optimizers.state()}
        self.session.save(self.stage, values)
        self.preview(self.ema.models, f"{self.stage}_{step:06d}")

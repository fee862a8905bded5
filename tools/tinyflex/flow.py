"""Stages 3 and 4: the flow, then guidance distilled into the network's own guidance input.

Rectified flow: ``x = (1 − σ)·picture + σ·noise``, and the network predicts ``noise − picture``. Stage 3
learns that with captions dropped now and then, at guidance 1. Stage 4 copies it as a teacher and teaches the
network to answer, for a guidance ``g``, as classifier-free guidance: ``v(empty) + g·(v(caption) − v(empty))``
(Meng et al. 2023, "On Distillation of Guided Diffusion Models"). Stage 4 also reads the caption at the 512
tokens that the pipeline pads it to; stage 3 reads 24, for speed.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .bank import Bank
from .components import T5_TOKENS, Models
from .network import Network, shift, shift_factor
from .session import Clock, Session

DROP_CAPTION = 0.1
GUIDANCE = (1.0, 7.0)
EMA_DECAY = 0.998
FLOW_PARTS = ("transformer", "text_encoder", "text_encoder_2")


class Ema:
    """An exponential moving average of the trained networks' weights."""

    def __init__(self, models: Models) -> None:
        self.models = copy.deepcopy(models).to(str(next(models.transformer.parameters()).device))
        self._kept = [p.detach() for part in FLOW_PARTS for p in self.models.parts()[part].parameters()]
        self._live = [p.detach() for part in FLOW_PARTS for p in models.parts()[part].parameters()]

    def update(self, step: int) -> None:
        """Move towards the live weights; faster during the first steps."""
        torch._foreach_lerp_(self._kept, self._live, 1 - min(EMA_DECAY, (step + 1) / (step + 10)))


class FlowTrainer:
    """Trains the transformer and both text encoders together."""

    def __init__(
        self, models: Models, bank: Bank, empty: tuple[Tensor, Tensor], session: Session, graphs: bool
    ) -> None:
        """``empty`` holds the empty caption's T5 and CLIP ids, each 1 × n."""
        assert bank.latents is not None
        self.models, self.bank, self.session, self.graphs = models, bank, session, graphs
        self.latents = bank.latents
        self.empty = (empty[0].to(session.device), empty[1].to(session.device))
        self.device = session.device
        self.generator = torch.Generator(self.device).manual_seed(2)
        self.factor = shift_factor(self.latents.shape[1])

    def train_flow(self, seconds: float, batch: int, peak: float) -> None:
        """Stage 3, at guidance 1; leaves the averaged weights in ``models``."""
        ones = torch.ones(batch, device=self.device)
        network = self._network(batch, self.bank.t5_ids.shape[1])

        def loss_of(x0: Tensor, noise: Tensor, sigmas: Tensor, rows: Tensor) -> Tensor:
            ids = self._drop(self.bank.t5_ids[rows], self.bank.clip_ids[rows], DROP_CAPTION)
            x = torch.lerp(x0, noise, sigmas.view(-1, 1, 1))
            return F.mse_loss(network(x, sigmas, *ids, ones), noise - x0)

        self._optimise("flow", seconds, batch, peak, loss_of)

    def distil(self, seconds: float, batch: int, peak: float) -> None:
        """Stage 4; leaves the averaged weights in ``models``."""
        teacher = copy.deepcopy(self.models)
        if (saved := self.session.state.get("distil", {}).get("teacher")) is not None:
            _load(teacher, saved)
        self._teacher = _weights(teacher)
        guide = Network(teacher, self.device).requires_grad_(False)
        network = self._network(batch, T5_TOKENS)
        ones = torch.ones(2 * batch, device=self.device)

        @torch.no_grad()
        def target_of(x: Tensor, sigmas: Tensor, ids: tuple[Tensor, Tensor], scale: Tensor) -> Tensor:
            t5, clip = (torch.cat([given, self.empty[i].expand_as(given)]) for i, given in enumerate(ids))
            with_caption, without = guide(x.repeat(2, 1, 1), sigmas.repeat(2), t5, clip, ones).chunk(2)
            return without + scale.view(-1, 1, 1) * (with_caption - without)

        def loss_of(x0: Tensor, noise: Tensor, sigmas: Tensor, rows: Tensor) -> Tensor:
            ids = self._drop(self.bank.t5_ids[rows], self.bank.clip_ids[rows], DROP_CAPTION / 2)
            scale = self._uniform(len(rows)) * (GUIDANCE[1] - GUIDANCE[0]) + GUIDANCE[0]
            scale = torch.where(self._uniform(len(rows)) < 0.15, torch.ones_like(scale), scale)
            x = torch.lerp(x0, noise, sigmas.view(-1, 1, 1))
            target = target_of(x, sigmas, ids, scale)
            padded = F.pad(ids[0], (0, T5_TOKENS - ids[0].shape[1]))
            error = network(x, sigmas, padded, ids[1], scale) - target
            return (scale.rsqrt().view(-1, 1, 1) * error.square()).mean()

        self._optimise("distil", seconds, batch, peak, loss_of)

    def _network(self, batch: int, t5_tokens: int) -> Network:
        network = Network(copy.copy(self.models), self.device)
        return network.graphed(batch, t5_tokens, self.bank.clip_ids.shape[1]) if self.graphs else network

    def _optimise(self, stage: str, seconds: float, batch: int, peak: float, loss_of: Any) -> None:
        state = self.session.state.get(stage, {})
        if "ema" in state:
            _load(self.models, state.get("raw", state["ema"]))
        ema = Ema(self.models)
        if "ema" in state:
            _load(ema.models, state["ema"])
        if not self.session.done(stage):
            self._loop(stage, Clock(seconds, state.get("spent", 0.0)), batch, peak, loss_of, ema, state)
        _load(self.models, _weights(ema.models))

    def _loop(
        self, stage: str, clock: Clock, batch: int, peak: float, loss_of: Any, ema: Ema, state: dict[str, Any]
    ) -> None:
        parameters = [p for part in FLOW_PARTS for p in self.models.parts()[part].parameters()]
        groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": 1e-2}]
        groups.append({"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=self.device == "cuda")
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
        first = int(state.get("step", 0))
        self.generator.manual_seed(2 + first)
        step, running = first, torch.zeros((), device=self.device)
        while clock.progress < 1:
            rows = torch.randint(len(self.latents), (batch,), device=self.device, generator=self.generator)
            x0 = self.latents[rows].float()
            noise = torch.randn(x0.shape, device=self.device, generator=self.generator)
            for group in optimizer.param_groups:
                group["lr"] = clock.rate(peak, step - first)
            loss = loss_of(x0, noise, self._sigmas(batch), rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            ema.update(step)
            running = running.lerp(loss.detach(), 0.02 if step > first else 1.0)
            step += 1
            if step % 200 == 0:
                self.session.log(stage, step=step, spent=clock.spent, loss=running.item())
                if not running.isfinite():
                    raise SystemExit(
                        f"{stage}: the loss is not finite at step {step}; lower the learning rate"
                    )
            if self.session.due():
                self._save(stage, step, clock, ema, optimizer)
        self.session.log(stage, step=step, spent=clock.spent, loss=running.item(), samples=step * batch)
        self._save(stage, step, clock, ema, None)

    def _save(self, stage: str, step: int, clock: Clock, ema: Ema, optimizer: Any) -> None:
        values: dict[str, Any] = {"step": step, "ema": _weights(ema.models), "spent": clock.spent}
        if stage == "distil":
            values["teacher"] = self._teacher
        if optimizer is None:
            values["done"] = True
        else:
            values |= {"raw": _weights(self.models), "optimizer": optimizer.state_dict()}
        self.session.save(stage, values)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, device=self.device, generator=self.generator)

    def _sigmas(self, count: int) -> Tensor:
        normal = torch.randn(count, device=self.device, generator=self.generator)
        spread = torch.where(self._uniform(count) < 0.3, self._uniform(count), normal.sigmoid())
        return shift(spread, self.factor)

    def _drop(self, t5_ids: Tensor, clip_ids: Tensor, share: float) -> tuple[Tensor, Tensor]:
        drop = (self._uniform(len(t5_ids)) < share).unsqueeze(1)
        return torch.where(drop, self.empty[0], t5_ids), torch.where(drop, self.empty[1], clip_ids)


def _weights(models: Models) -> dict[str, Any]:
    return {part: copy.deepcopy(models.parts()[part].state_dict()) for part in FLOW_PARTS}


def _load(models: Models, weights: dict[str, Any]) -> None:
    for part in FLOW_PARTS:
        models.parts()[part].load_state_dict(weights[part])

"""Stages 3 and 4: the flow, then guidance distilled into the network's own guidance input.

Rectified flow: ``x = (1 − σ)·picture + σ·noise``, and the network predicts ``noise − picture``. Stage 3
learns that with captions dropped now and then, at guidance 1. Stage 4 copies it as a teacher and teaches the
network to answer, for a guidance ``g``, as classifier-free guidance: ``v(empty) + g·(v(caption) − v(empty))``
(Meng et al. 2023, "On Distillation of Guided Diffusion Models"). Both read 24 text tokens, the last of which
counts as all the padding that the pipeline adds (:func:`.network.padding_bias`); the end of stage 4 reads all
512, which settles the little that this leaves out.

Matrices are trained with Muon (Jordan et al. 2024), all else with AdamW.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .bank import Bank
from .components import T5_TOKENS, Models
from .loop import Batches, Loop, load_weights, weights_of
from .network import Network, shift, shift_factor
from .session import Session

DROP_CAPTION = 0.1
GUIDANCE = (1.0, 7.0)

Ids = tuple[Tensor, Tensor]
LossOf = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class FlowTrainer:
    """Trains the transformer and both text encoders together."""

    def __init__(
        self,
        models: Models,
        bank: Bank,
        empty: Ids,
        session: Session,
        *,
        fuse: bool,
        preview: Callable[[Models, str], None],
    ) -> None:
        """Start from the bank's latents.

        Args:
            empty: the empty caption's T5 and CLIP ids, each 1 × n.
            fuse: compile the networks with ``torch.compile``.
            preview: called about once a minute with the averaged weights and a name.
        """
        assert bank.latents is not None
        self.models, self.bank, self.session, self.fuse, self.preview = models, bank, session, fuse, preview
        self.latents = bank.latents
        self.empty = (empty[0].to(session.device), empty[1].to(session.device))
        self.device = session.device
        self.generator = torch.Generator(self.device).manual_seed(2)
        self.factor = shift_factor(self.latents.shape[1])
        self._kept: dict[str, Any] = {}

    def train_flow(self, seconds: float, batch: int, peak: float) -> None:
        """Stage 3, at guidance 1; leaves the averaged weights in ``models``."""
        network = self._networks(self.models)[0]

        def loss_of(x0: Tensor, noise: Tensor, sigmas: Tensor, rows: Tensor) -> Tensor:
            ids = self._drop(self.bank.t5_ids[rows], self.bank.clip_ids[rows], DROP_CAPTION)
            x = torch.lerp(x0, noise, sigmas.view(-1, 1, 1))
            return F.mse_loss(network(x, sigmas, *ids, torch.ones_like(sigmas)), noise - x0)

        self._optimise("flow", seconds, (batch, batch), peak, loss_of)

    def distil(self, seconds: float, batch: int, peak: float) -> None:
        """Stage 4; leaves the averaged weights in ``models``."""
        teacher = copy.deepcopy(self.models)
        if (saved := self.session.state.get("distil", {}).get("teacher")) is not None:
            load_weights(teacher, saved)
        self._kept = {"teacher": weights_of(teacher)}
        guides = [net.requires_grad_(False) for net in self._networks(teacher)]
        networks = self._networks(self.models)

        @torch.no_grad()
        def target_of(guide: Any, x: Tensor, sigmas: Tensor, ids: Ids, scale: Tensor) -> Tensor:
            t5, clip = (torch.cat([given, self.empty[i].expand_as(given)]) for i, given in enumerate(ids))
            both = guide(x.repeat(2, 1, 1), sigmas.repeat(2), t5, clip, torch.ones_like(sigmas).repeat(2))
            with_caption, without = both.chunk(2)
            return without + scale.view(-1, 1, 1) * (with_caption - without)

        def loss_of(x0: Tensor, noise: Tensor, sigmas: Tensor, rows: Tensor) -> Tensor:
            ids = self._drop(self.bank.t5_ids[rows], self.bank.clip_ids[rows], DROP_CAPTION / 2)
            scale = self._uniform(len(rows)) * (GUIDANCE[1] - GUIDANCE[0]) + GUIDANCE[0]
            scale = torch.where(self._uniform(len(rows)) < 0.15, torch.ones_like(scale), scale)
            x = torch.lerp(x0, noise, sigmas.view(-1, 1, 1))
            whole = len(rows) < batch
            target = target_of(guides[whole], x, sigmas, ids, scale)
            t5_ids = F.pad(ids[0], (0, T5_TOKENS - ids[0].shape[1])) if whole else ids[0]
            error = networks[whole](x, sigmas, t5_ids, ids[1], scale) - target
            return (scale.rsqrt().view(-1, 1, 1) * error.square()).mean()

        self._optimise("distil", seconds, (batch, max(2, batch // 8)), peak, loss_of)

    def _networks(self, models: Models) -> tuple[Any, Any]:
        """Return the network compiled for one shape, where that is wanted, and as it is."""
        network = Network(models, self.device)
        return torch.compile(network, dynamic=False) if self.fuse else network, network

    def _optimise(self, stage: str, seconds: float, batches: Batches, peak: float, loss_of: LossOf) -> None:
        def loss(batch: int) -> Tensor:
            rows = torch.randint(len(self.latents), (batch,), device=self.device, generator=self.generator)
            x0 = self.latents[rows].float()
            noise = torch.randn(x0.shape, device=self.device, generator=self.generator)
            return loss_of(x0, noise, self._sigmas(batch), rows)

        self.generator.manual_seed(2 + int(self.session.state.get(stage, {}).get("step", 0)))
        loop = Loop(stage, self.models, self.session, self.preview, self._kept)
        loop.run(seconds, batches, peak, loss)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, device=self.device, generator=self.generator)

    def _sigmas(self, count: int) -> Tensor:
        normal = torch.randn(count, device=self.device, generator=self.generator)
        spread = torch.where(self._uniform(count) < 0.3, self._uniform(count), normal.sigmoid())
        return shift(spread, self.factor)

    def _drop(self, t5_ids: Tensor, clip_ids: Tensor, share: float) -> Ids:
        drop = (self._uniform(len(t5_ids)) < share).unsqueeze(1)
        return torch.where(drop, self.empty[0], t5_ids), torch.where(drop, self.empty[1], clip_ids)

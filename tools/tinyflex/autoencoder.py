"""Stage 1: the autoencoder. L1, an edge loss and a little KL; scale and shift from latent statistics.

Trained on crops first, four times as many steps for the time, then on whole pictures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .compose import Compositor
from .scenes import Scenes
from .session import Clock, Session

KL_WEIGHT = 3e-4
EDGE_WEIGHT = 1.0
CROP = 64
WHOLE_AFTER = 0.85


def edge_loss(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the images' horizontal and vertical differences."""
    across = F.l1_loss(image.diff(dim=-1), target.diff(dim=-1))
    return across + F.l1_loss(image.diff(dim=-2), target.diff(dim=-2))


def train_autoencoder(
    vae: Any,
    compositor: Compositor,
    scenes: Scenes,
    session: Session,
    *,
    seconds: float,
    batch: int,
    peak: float,
) -> None:
    """Train ``vae`` in place for ``seconds`` and set its scaling and shift factors."""
    state = session.state.get("autoencoder", {})
    if "vae" in state:
        vae.load_state_dict(state["vae"])
    if not session.done("autoencoder"):
        _optimise(vae, compositor, scenes, session, Clock(seconds, state.get("spent", 0.0)), batch, peak)
        state = {"vae": vae.state_dict(), "done": True, **_statistics(vae, compositor, scenes)}
        session.save("autoencoder", state)
    vae.register_to_config(scaling_factor=state["scaling_factor"], shift_factor=state["shift_factor"])
    session.log("autoencoder", scaling_factor=state["scaling_factor"], shift_factor=state["shift_factor"])


def _optimise(
    vae: Any, compositor: Compositor, scenes: Scenes, session: Session, clock: Clock, batch: int, peak: float
) -> None:
    device = session.device
    vae.train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=1e-3)
    generator = torch.Generator().manual_seed(1)
    step = 0
    while clock.progress < 1:
        rows = torch.randint(len(scenes.captions), (batch,), generator=generator)
        target = compositor.draw(scenes, rows if clock.progress < WHOLE_AFTER else rows[: batch // 4 or 1])
        if clock.progress < WHOLE_AFTER:
            top, left = torch.randint(target.shape[-1] - CROP + 1, (2,), generator=generator).tolist()
            target = target[..., top : top + CROP, left : left + CROP].contiguous()
        for group in optimizer.param_groups:
            group["lr"] = clock.rate(peak, step)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            posterior = vae.encode(target).latent_dist
            image = vae.decode(posterior.sample()).sample
        image = image.float()
        l1, edge = F.l1_loss(image, target), edge_loss(image, target)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = l1 + EDGE_WEIGHT * edge + KL_WEIGHT * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0 or clock.progress >= 1:
            session.log(
                "autoencoder", step=step, spent=clock.spent, l1=l1.item(), edge=edge.item(), kl=kl.item()
            )
        if session.due():
            session.save("autoencoder", {"vae": vae.state_dict(), "spent": clock.spent})
        step += 1
    vae.eval()


@torch.no_grad()
def _statistics(vae: Any, compositor: Compositor, scenes: Scenes, count: int = 512) -> dict[str, float]:
    rows = torch.arange(min(count, len(scenes.captions)))
    latents = torch.cat(
        [vae.encode(compositor.draw(scenes, part)).latent_dist.mean for part in rows.split(64)]
    )
    return {"scaling_factor": 1 / latents.std().item(), "shift_factor": latents.mean().item()}

"""The compositor: scenes into pixels, batched, on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .icons import Atlas
from .scenes import CANVAS, SLOTS, Scenes

_PERIOD = 32


class Compositor:
    """Holds the atlas on a device and draws scenes from it."""

    def __init__(self, atlas: Atlas, device: str) -> None:
        full = torch.from_numpy(atlas.pixels).to(device).float() / 255
        self.levels = (full, F.avg_pool2d(full, 2))
        self.device = device
        axis = torch.arange(CANVAS, device=device, dtype=torch.float32) + 0.5
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")

    def draw(self, scenes: Scenes, rows: Tensor) -> Tensor:
        """Return the pictures of the chosen scenes: B × 3 × 128 × 128 in −1…1."""
        pick = rows.cpu().numpy()
        icons = torch.from_numpy(scenes.icons[pick]).to(self.device)
        boxes = torch.from_numpy(scenes.boxes[pick]).to(self.device)
        colours = torch.from_numpy(scenes.colours[pick]).to(self.device) / 255
        patterns = torch.from_numpy(scenes.patterns[pick]).to(self.device)
        canvas = self._background(colours, patterns)
        for slot in range(SLOTS):
            layer = self._layer(icons[:, slot], boxes[:, slot])
            canvas = canvas * (1 - layer[:, 3:]) + layer[:, :3]
        return canvas.clamp(0, 1) * 2 - 1

    def _background(self, colours: Tensor, patterns: Tensor) -> Tensor:
        kind = patterns[:, 0].view(-1, 1, 1)
        x = (self.x + patterns[:, 1].view(-1, 1, 1)) % _PERIOD
        y = (self.y + patterns[:, 2].view(-1, 1, 1)) % _PERIOD
        half = _PERIOD / 2
        striped = (x + y) % _PERIOD < half
        dotted = (x - half).square() + (y - half).square() < 8**2
        checked = (x < half) ^ (y < half)
        second = ((kind == 1) & striped) | ((kind == 2) & dotted) | ((kind == 3) & checked)
        base = colours.view(-1, 3, 1, 1)
        pale = base.mean(dim=1, keepdim=True) > 0.9
        other = torch.where(pale, base * 0.86, base + (1 - base) * 0.4)
        return torch.where(second.unsqueeze(1), other, base)

    def _layer(self, icons: Tensor, boxes: Tensor) -> Tensor:
        x, y, size = (boxes[:, i].view(-1, 1, 1) for i in range(3))
        grid = torch.stack([(self.x - x) / (size / 2), (self.y - y) / (size / 2)], dim=-1)
        number = icons.clamp(min=0)
        large = F.grid_sample(self.levels[0][number], grid, align_corners=False)
        small = F.grid_sample(self.levels[1][number], grid, align_corners=False)
        layer = torch.where(size.unsqueeze(1) > 64, large, small)
        return layer * (icons >= 0).view(-1, 1, 1, 1)

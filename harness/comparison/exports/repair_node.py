# SPDX-License-Identifier: Apache-2.0
"""ComfyUI node: take FlexTools' normalisation of Flex.2's blank conditions back.

Install: put this file into ComfyUI's folder ``custom_nodes`` and restart ComfyUI. Place the node "Flex2
Blanks" behind "Flex 2 Conditioner", between its positive and negative outputs and the sampler.

ComfyUI-FlexTools (8287164) sends the whole conditioning through the latents' normalisation,
(x - 0.1159) · 0.3611: blank control and inpainting latents become -0.0419 where the trainer has 0, and the
mask of ones becomes 0.3192. Here the inverse is applied beforehand: to the mask always, to latents where they
are blank.
"""

from __future__ import annotations

from typing import Any

SHIFT, SCALE = 0.1159, 0.3611
LATENTS = 16
MASK = slice(LATENTS, LATENTS + 1)
KEYS = ("flex2_concat_latent", "flex2_concat_latent_no_control")


def repaired(latent: Any) -> Any:
    """Return concatenated conditions, batch × 33 × H/8 × W/8, which FlexTools' normalisation makes right."""
    made = latent.clone()
    for part in (slice(0, LATENTS), slice(LATENTS + 1, 2 * LATENTS + 1)):
        if not latent[:, part].any():
            made[:, part] = SHIFT
    made[:, MASK] = latent[:, MASK] / SCALE + SHIFT
    return made


class Flex2Blanks:
    """The node."""

    CATEGORY = "advanced/conditioning/flex"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "repair"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return the sockets, as ComfyUI asks for them."""
        return {"required": {"positive": ("CONDITIONING",), "negative": ("CONDITIONING",)}}

    def repair(self, positive: list[Any], negative: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return both conditionings with repaired blanks."""
        return _each(positive), _each(negative)


def _each(conditioning: list[Any]) -> list[Any]:
    return [
        [embedding, {key: repaired(value) if key in KEYS else value for key, value in settings.items()}]
        for embedding, settings in conditioning
    ]


NODE_CLASS_MAPPINGS = {"Flex2Blanks": Flex2Blanks}
NODE_DISPLAY_NAME_MAPPINGS = {"Flex2Blanks": "Flex2 Blanks"}

"""From packed latents to pictures, as the pipelines of Flux models do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.image_processor import VaeImageProcessor
    from PIL.Image import Image


def decode(
    pipe: DiffusionPipeline, latents: torch.Tensor, height: int, width: int, output_type: str = "pil"
) -> list[Image]:
    """Decode packed latents, batch × (H/16 · W/16) × 64, to images of ``height`` × ``width`` pixels.

    Args:
        output_type: as diffusers' image processor takes it; ``pil`` gives Pillow images, ``latent`` what the
            decoder says, -1 to 1.
    """
    latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    latents = latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
    decoded = pipe.vae.decode(latents.to(pipe.vae.dtype), return_dict=False)[0]
    if output_type == "pil":
        return to_images(pipe.image_processor, decoded)
    return pipe.image_processor.postprocess(decoded, output_type=output_type)  # type: ignore[no-any-return]


def to_images(processor: VaeImageProcessor, decoded: torch.Tensor) -> list[Image]:
    """Return what ``processor`` makes of decoded pictures, batch × 3 × H × W, -1 to 1, with its bits.

    It copies them to main memory and rounds them there; here they are rounded where they are. What is not a
    number is left to it, and to numpy's warning.
    """
    from PIL.Image import fromarray

    shown = processor.postprocess(decoded, output_type="pt").float()
    if shown.sum().isnan():
        return processor.postprocess(decoded)  # type: ignore[no-any-return]
    levels = (shown * 255).round().byte().permute(0, 2, 3, 1).contiguous()
    return [fromarray(each) for each in levels.cpu().numpy()]

"""The builtin pipeline: what the hub's own ``pipeline.py`` does for text to image, without remote code.

Flex.2's transformer takes 196 packed channels: 64 of noisy latents, 68 of inpainting (64 of image, 4 of
mask) and 64 of control. The reference passes no control image, so inpainting and control are blank here:
zeros for images, ones for the mask. Guidance is embedded: one forward pass a step, no negative prompt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import FluxControlPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps
from diffusers.pipelines.flux.pipeline_output import FluxPipelineOutput

from harness.pipeline.decoding import decode


class Flex2Pipeline(FluxControlPipeline):  # type: ignore[misc]
    """Flex.2 text to image, bit for bit what the hub's pipeline renders."""

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        *,
        width: int,
        height: int,
        num_inference_steps: int,
        guidance_scale: float,
        generator: torch.Generator | None = None,
        latents: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        pooled_prompt_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: Any = None,
        max_sequence_length: int = 512,
        negative_prompt: str | None = None,
    ) -> FluxPipelineOutput:
        """Render one image per prompt.

        Args:
            width: pixels, a multiple of 16.
            height: pixels, a multiple of 16.
            latents: packed noise, batch × (H/16 · W/16) × 64; drawn from ``generator`` when absent.
            callback_on_step_end: diffusers' callback; it may replace ``latents``.
            negative_prompt: accepted and ignored, as the hub's pipeline does.
        """
        self._interrupt = False
        device = self._execution_device
        embeds, pooled, text_ids = self.encode_prompt(
            prompt=prompt,
            prompt_2=None,
            device=device,
            prompt_embeds=prompt_embeds,
            pooled_prompt_embeds=pooled_prompt_embeds,
            max_sequence_length=max_sequence_length,
        )
        latents, image_ids = self.prepare_latents(
            embeds.shape[0],
            self.vae.config.latent_channels,
            height,
            width,
            embeds.dtype,
            device,
            generator,
            latents,
        )
        timesteps = self._schedule(num_inference_steps, latents.shape[1], device)
        guidance = torch.full([latents.shape[0]], guidance_scale, device=device, dtype=torch.float32)
        blank = self._blank_conditions(latents)

        with self.progress_bar(total=len(timesteps)) as progress:
            for index, timestep in enumerate(timesteps):
                velocity = self.transformer(
                    hidden_states=torch.cat([latents, blank], dim=2),
                    timestep=timestep.expand(latents.shape[0]).to(latents.dtype) / 1000,
                    guidance=guidance,
                    pooled_projections=pooled,
                    encoder_hidden_states=embeds,
                    txt_ids=text_ids,
                    img_ids=image_ids,
                    return_dict=False,
                )[0]
                latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
                if callback_on_step_end is not None:
                    replaced = callback_on_step_end(self, index, timestep, {"latents": latents})
                    latents = replaced.get("latents", latents)
                progress.update()

        images = latents if output_type == "latent" else decode(self, latents, height, width, output_type)
        self.maybe_free_model_hooks()
        return FluxPipelineOutput(images=images)

    def _schedule(self, steps: int, image_seq_len: int, device: torch.device) -> torch.Tensor:
        config = self.scheduler.config
        names = {"base_seq_len": "base_image_seq_len", "max_seq_len": "max_image_seq_len"}
        names |= {name: name for name in ("base_shift", "max_shift")}
        given = {argument: config[name] for argument, name in names.items() if name in config}
        mu = calculate_shift(image_seq_len, **given)
        sigmas = np.linspace(1.0, 1 / steps, steps)
        timesteps: torch.Tensor
        timesteps, _ = retrieve_timesteps(self.scheduler, steps, device, sigmas=sigmas, mu=mu)
        self._num_timesteps = len(timesteps)
        return timesteps

    def _blank_conditions(self, latents: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros_like(latents)
        mask = self.transformer.config.in_channels - 3 * latents.shape[2]
        return torch.cat([zeros, torch.ones_like(latents[:, :, :mask]), zeros], dim=2)

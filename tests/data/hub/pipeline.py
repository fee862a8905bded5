"""Flex.2 text-to-image as a model repository ships it: one file of remote code, loaded by ``custom_pipeline``.

It stands alone (torch, numpy and diffusers only) so that a checkpoint folder can carry it.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import torch
from diffusers import FluxControlPipeline
from diffusers.pipelines.flux.pipeline_flux_control import calculate_shift, retrieve_timesteps
from diffusers.pipelines.flux.pipeline_output import FluxPipelineOutput


class Flex2Pipeline(FluxControlPipeline):
    """Flux with 196 input channels: 64 noisy latents, 68 inpaint latents with their mask, 64 control latents."""

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        control_image: Any = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 28,
        guidance_scale: float = 3.5,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        pooled_prompt_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        joint_attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        max_sequence_length: int = 512,
        **kwargs: Any,
    ) -> FluxPipelineOutput | tuple[Any]:
        """Render ``prompt``; ``latents`` are packed, (batch, tokens, 64); unknown arguments are ignored."""
        if control_image is not None:
            raise NotImplementedError("this pipeline renders from text only: control_image must be None")
        height = height or self.default_sample_size * self.vae_scale_factor
        width = width or self.default_sample_size * self.vae_scale_factor
        watched = callback_on_step_end_tensor_inputs or ["latents"]
        self.check_inputs(
            prompt,
            prompt_2,
            height,
            width,
            prompt_embeds=prompt_embeds,
            pooled_prompt_embeds=pooled_prompt_embeds,
            callback_on_step_end_tensor_inputs=watched,
            max_sequence_length=max_sequence_length,
        )
        self._guidance_scale = guidance_scale
        self._joint_attention_kwargs = joint_attention_kwargs
        self._interrupt = False
        device = self._execution_device

        prompt_embeds, pooled_prompt_embeds, text_ids = self.encode_prompt(
            prompt=prompt,
            prompt_2=prompt_2,
            prompt_embeds=prompt_embeds,
            pooled_prompt_embeds=pooled_prompt_embeds,
            device=device,
            num_images_per_prompt=num_images_per_prompt,
            max_sequence_length=max_sequence_length,
            lora_scale=(joint_attention_kwargs or {}).get("scale"),
        )
        # The embeddings are already repeated per image, whoever made them.
        batch = prompt_embeds.shape[0]
        latents, image_ids = self.prepare_latents(
            batch,
            self.vae_latent_channels,
            height,
            width,
            prompt_embeds.dtype,
            device,
            generator,
            latents,
        )
        condition = self._empty_condition(batch, height, width, latents)

        config = self.scheduler.config
        mu = calculate_shift(
            latents.shape[1],
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        timesteps, num_inference_steps = retrieve_timesteps(
            self.scheduler,
            num_inference_steps,
            device,
            sigmas=np.linspace(1.0, 1 / num_inference_steps, num_inference_steps),
            mu=mu,
        )
        self._num_timesteps = len(timesteps)
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full([batch], guidance_scale, device=device, dtype=torch.float32)

        with self.progress_bar(total=num_inference_steps) as progress:
            for index, moment in enumerate(timesteps):
                if self.interrupt:
                    continue
                velocity = self.transformer(
                    hidden_states=torch.cat([latents, condition], dim=2),
                    timestep=moment.expand(batch).to(latents.dtype) / 1000,
                    guidance=guidance,
                    pooled_projections=pooled_prompt_embeds,
                    encoder_hidden_states=prompt_embeds,
                    txt_ids=text_ids,
                    img_ids=image_ids,
                    joint_attention_kwargs=joint_attention_kwargs,
                    return_dict=False,
                )[0]
                latents = self.scheduler.step(velocity, moment, latents, return_dict=False)[0]
                if callback_on_step_end is not None:
                    state = {"latents": latents, "prompt_embeds": prompt_embeds}
                    changed = callback_on_step_end(self, index, moment, {name: state[name] for name in watched})
                    latents = changed.get("latents", latents)
                    prompt_embeds = changed.get("prompt_embeds", prompt_embeds)
                progress.update()

        images = latents if output_type == "latent" else self._decode(latents, height, width, output_type)
        self.maybe_free_model_hooks()
        return FluxPipelineOutput(images=images) if return_dict else (images,)

    def _empty_condition(self, batch: int, height: int, width: int, latents: torch.Tensor) -> torch.Tensor:
        """Packed "nothing given": zero inpaint latents, a mask of ones (paint everywhere), zero control latents."""
        channels = self.vae_latent_channels
        rows, columns = (2 * (size // (self.vae_scale_factor * 2)) for size in (height, width))
        empty = torch.zeros(batch, 2 * channels + 1, rows, columns, device=latents.device, dtype=latents.dtype)
        empty[:, channels] = 1
        return self._pack_latents(empty, batch, 2 * channels + 1, rows, columns)

    def _decode(self, latents: torch.Tensor, height: int, width: int, output_type: str) -> Any:
        latents = self._unpack_latents(latents, height, width, self.vae_scale_factor)
        latents = latents / self.vae.config.scaling_factor + self.vae.config.shift_factor
        pixels = self.vae.decode(latents, return_dict=False)[0]
        return self.image_processor.postprocess(pixels, output_type=output_type)

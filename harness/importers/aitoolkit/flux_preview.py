"""What AI Toolkit honours when it renders previews by its code for Flux models, as it does for Flex.1.

Source: ``ostris/ai-toolkit``, ``toolkit/stable_diffusion_model.py``, ``toolkit/sampler.py`` and
``toolkit/config_modules.py``. Its code for Flex.2 reads none of these.
"""

from __future__ import annotations

from harness.importers.aitoolkit.config import Process

SCHEDULE = "flowmatch"
"""The one sampler that samples a flow-matching model; its schedule is the reference's."""

DEFAULT_SAMPLER = "ddpm"


def flux_problem(process: Process) -> str | None:
    """Return what of the job made its previews that the reference pipeline does not have, or None."""
    model, sampler = process.model, process.sample.sampler or DEFAULT_SAMPLER
    if sampler != SCHEDULE:
        return f"sample.sampler is {sampler!r}, and the reference samples as {SCHEDULE!r} does"
    if model.use_flux_cfg:
        return "model.use_flux_cfg made a second pass for the negative prompt, and the reference makes one"
    if model.attn_masking:
        return "model.attn_masking sets the padding of the prompt to zero, which the reference does not"
    for name, what in (
        ("inference_lora_path", "was active in previews too"),
        ("lora_path", "was merged into the base"),
        ("vae_path", "decoded the previews"),
    ):
        if getattr(model, name):
            return f"model.{name} {what}, and the reference does not load it"
    return None


def flux_notes(process: Process) -> list[str]:
    """Return what made the previews' arithmetic another than the re-run's."""
    if not process.model.assistant_lora_path:
        return []
    return [
        "model.assistant_lora_path was merged for training and subtracted again for previews: the trainer's "
        "weights were rounded twice more than the re-run's"
    ]

"""Which model a job trains, by the ``model`` section of its config."""

from __future__ import annotations

from typing import Any

from harness.schema.spec import MODELS, ModelSpec

FLUX = "flux"
"""What AI Toolkit makes of the arch of every model that its code for Flux renders."""


def trained_model(arch: Any, *, is_flux: bool, name_or_path: Any) -> ModelSpec | None:
    """Return the model, or None where it is none that is known here.

    Args:
        arch: ``model.arch``; what follows ``:`` names a variant.
        is_flux: ``model.is_flux``, by which older configs say what ``arch: flux`` says now.
        name_or_path: tells models of one arch apart.
    """
    name = arch.split(":")[0] if isinstance(arch, str) else ""
    if name in MODELS:
        return MODELS[name]
    if name != FLUX and not (arch is None and is_flux):
        return None
    of_flux = (spec for spec in MODELS.values() if spec.flux_trainer)
    return next((spec for spec in of_flux if spec.hub_repo == name_or_path), None)

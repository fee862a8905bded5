"""A typed view of ``model`` in a training job's config: the base, and how it was quantized."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from harness.importers.aitoolkit.config_fields import Flag, NullIsAbsent, View
from harness.importers.aitoolkit.trained_model import trained_model
from harness.schema.quantizers import ACTIVATIONS_LEFT, ALONE, QUANTIZERS
from harness.schema.spec import ModelSpec
from harness.schema.trainer_versions import (
    APPLE_CONVROT8,
    APPLE_INT8,
    AUTO_MEMORY,
    LAYER_OFFLOADING,
    Rule,
)

Patterns = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""Patterns of names of layers, as ``fnmatch`` has them; one may stand alone."""


class QuantizeKwargs(NullIsAbsent):
    """``quantize_kwargs``: what the trainer hands to its quantizer of the transformer, and not of T5."""

    exclude: Patterns = Field(default_factory=list)
    include: Patterns | None = None
    activations: Any = None

    @property
    def left_out(self) -> list[str]:
        """The patterns of layers that stay as they are, as a case has them."""
        alone = [f"{ALONE}{pattern}" for pattern in self.include or ()]
        return [*self.exclude, *(["*"] if self.include == [] else alone)]


_SAME = {"qfloat8_e4m3fn": "qfloat8", "convrotint8": "convrot8"}
"""Other names of quantizers, which the trainer takes too and turns into nothing else."""


UNRECORDED = "unknown"
"""What quantized a base whose config names nothing, with which the trainer renders no preview."""


class ModelConfig(View):
    """``model``; ``quantize_te`` follows ``quantize`` where it is absent, and ``qtype`` is that of both."""

    name_or_path: str
    arch: str | None = None
    quantize: Flag = False
    quantize_te: Flag = False
    qtype: str | None = "qfloat8"
    qtype_te: str | None = None
    lora_path: str | None = None
    vae_path: str | None = None
    te_name_or_path: str | None = None
    auto_memory: Flag = False
    layer_offloading: Flag = False
    compile: Flag = False
    quantize_kwargs: Annotated[QuantizeKwargs, BeforeValidator(lambda value: value or {})] = QuantizeKwargs()
    is_flux: Flag = False
    use_flux_cfg: Flag = False
    attn_masking: Flag = False
    assistant_lora_path: Flag = False
    inference_lora_path: Flag = False

    @property
    def spec(self) -> ModelSpec:
        """What the reference fixes for the model that the job trains; ``load_config`` refuses others."""
        found = trained_model(self.arch, is_flux=self.is_flux, name_or_path=self.name_or_path)
        assert found is not None
        return found

    @model_validator(mode="before")
    @classmethod
    def _te_follows(cls, data: Any) -> Any:
        if isinstance(data, dict) and "quantize_te" not in data:
            return {**data, "quantize_te": data.get("quantize", False)}
        return data

    def quantizer(self, software: str | None, device: str | None) -> tuple[str, Rule | None]:
        """Return what ``qtype`` became, and the rule by which, even where it is unclear whether it applied.

        What follows ``|`` names an accuracy recovery adapter, which is never loaded for these models.
        """
        qtype = self.qtype
        if qtype != "qfloat8":  # qfloat8|… is nothing else than qfloat8 either: it is split later
            name = (qtype or "").partition("|")[0]
            name = name if name.strip() else UNRECORDED
            return _on_device(_SAME.get(name, name), device), None
        changes = [(rule, "float8") for rule in self.offloading(software)]
        if (device or "").startswith("mps"):
            changes += [(APPLE_INT8, "int8"), (APPLE_CONVROT8, "convrot8")]
        for rule, name in changes:
            if (applied := rule.holds(software)) is not False:
                return _on_device(name if applied else qtype, device), rule
        return qtype, None

    def offloading(self, software: str | None) -> list[Rule]:
        """Return the rules by which layers are moved on and off the GPU, even where it is unclear whether."""
        renamed = "layer_offloading" in self.model_fields_set and LAYER_OFFLOADING.holds(software)
        asked = [
            (self.layer_offloading, LAYER_OFFLOADING),
            (self.auto_memory and not renamed, AUTO_MEMORY),  # the old name counts without the new one only
        ]
        return [rule for wanted, rule in asked if wanted and rule.holds(software) is not False]

    def without_effect(self) -> list[str]:
        """Return a sentence for each field that is set but never read for the model."""
        unread = () if self.spec.flux_trainer else ("lora_path", "vae_path")
        return [
            f"model.{name} had no effect: AI Toolkit does not read it for {self.spec.label}"
            for name in (*unread, "te_name_or_path", "qtype_te")
            if getattr(self, name) not in (None, "", self.qtype)
        ]


def _on_device(qtype: str, device: str | None) -> str:
    """Return what a qtype is on the device of a job: on some, convrot leaves the activations."""
    known = qtype in QUANTIZERS and QUANTIZERS[qtype].is_rotated
    return f"{qtype}{ACTIVATIONS_LEFT}" if known and (device or "").startswith(("cpu", "mps")) else qtype

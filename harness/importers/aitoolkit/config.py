"""A typed view of a training job's ``config.yaml``, as far as previews depend on it.

Fields and defaults: ``ostris/ai-toolkit``, ``toolkit/config_modules.py``. Fields not named here are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.schema.trainer_versions import (
    APPLE_CONVROT8,
    APPLE_INT8,
    AUTO_MEMORY,
    EMA,
    LAYER_OFFLOADING,
    SAMPLE_OBJECTS,
    Rule,
)


def _as_multiplier(value: Any) -> Any:
    """Read a string as a number; the trainer takes any other text for 1."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return 1.0


def _as_seed(value: Any) -> Any:
    """Truncate to an integer, as torch does with a seed."""
    try:
        return int(value) if isinstance(value, str | float) else value
    except (ValueError, OverflowError):
        return value


def _first(value: Any) -> Any:
    return value[:1] if isinstance(value, list) else value


def _as_negative(value: Any) -> Any:
    return value or ""


Flag = Annotated[bool, BeforeValidator(bool)]
Multiplier = Annotated[float, BeforeValidator(_as_multiplier)]
Seed = Annotated[int, BeforeValidator(_as_seed)]
Negative = Annotated[str, BeforeValidator(_as_negative)]


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class SampleEntry(_View):
    """One entry of ``sample.samples``; None takes the value of ``sample``."""

    prompt: str | None = None
    width: int | None = None
    height: int | None = None
    neg: Annotated[str | None, BeforeValidator(_as_negative)] = None
    seed: Seed | None = None
    guidance_scale: float | None = None
    sample_steps: int | None = None
    network_multiplier: Multiplier | None = None
    ctrl_img: str | None = None
    ctrl_img_1: str | None = None
    ctrl_img_2: str | None = None
    ctrl_img_3: str | None = None


class SampleConfig(_View):
    """``sample`` or ``first_sample``; sizes in pixels."""

    sampler: str | None = None
    sample_every: int | None = 100
    width: int = 512
    height: int = 512
    neg: Negative = ""
    seed: Seed = 0
    walk_seed: Flag = False
    guidance_scale: float = 7.0
    sample_steps: int = 20
    network_multiplier: Multiplier = 1.0
    prompts: list[str] = Field(default_factory=list)
    samples: list[SampleEntry] | None = None

    def entries(self, software: str | None = None) -> list[SampleEntry]:
        """Return ``samples``, which win where the trainer knows them, or ``prompts`` in the same form."""
        prompts = [SampleEntry(prompt=text) for text in self.prompts]
        if self.samples is None or (prompts and SAMPLE_OBJECTS.holds(software) is False):
            return prompts
        return self.samples


class NetworkConfig(_View):
    """``network``: the LoRA's shape and where it started from."""

    type: str = "lora"
    rank: float | None = None
    linear: float | None = None
    alpha: float = 1.0
    linear_alpha: float | None = None
    pretrained_lora_path: str | None = None

    @property
    def lora_rank(self) -> float:
        """``rank``, which wins over ``linear``; 4 without either."""
        return next((rank for rank in (self.rank, self.linear) if rank is not None), 4)

    @property
    def scaling_alpha(self) -> float:
        """``linear_alpha``, else ``alpha``."""
        return self.alpha if self.linear_alpha is None else self.linear_alpha


class SaveConfig(_View):
    """``save``."""

    save_every: int | None = 1000


class EmaConfig(_View):
    """``train.ema_config``."""

    use_ema: Flag = False


class TrainConfig(_View):
    """``train``."""

    steps: int = 1000
    dtype: str = "fp32"
    skip_first_sample: Flag = False
    force_first_sample: Flag = False
    unload_text_encoder: Flag = False
    cache_text_embeddings: Flag = False
    ema_config: EmaConfig | None = None
    attention_backend: str = "native"

    def ema(self, software: str | None) -> bool:
        """Say whether previews and saved files are exponential moving averages."""
        asked = self.ema_config is not None and self.ema_config.use_ema
        return asked and EMA.holds(software) is not False


class DatasetConfig(_View):
    """One entry of ``datasets``."""

    cache_text_embeddings: Flag = False


class ModelConfig(_View):
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
    quantize_kwargs: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _te_follows(cls, data: Any) -> Any:
        if isinstance(data, dict) and "quantize_te" not in data:
            return {**data, "quantize_te": data.get("quantize", False)}
        return data

    def quantizer(self, software: str | None, device: str | None) -> tuple[str | None, Rule | None]:
        """Return what ``qtype`` became, and the rule by which, even where it is unclear whether it applied.

        What follows ``|`` names an accuracy recovery adapter, which Flex.2 never loads.
        """
        qtype = self.qtype.partition("|")[0] if self.qtype else self.qtype
        if qtype != "qfloat8":
            return qtype, None
        changes = [
            (self.layer_offloading, LAYER_OFFLOADING, "float8"),
            (self.auto_memory, AUTO_MEMORY, "float8"),
        ]
        if (device or "").startswith("mps"):
            changes += [(True, APPLE_INT8, "int8"), (True, APPLE_CONVROT8, "convrot8")]
        for asked, rule, name in changes:
            if asked and (applied := rule.holds(software)) is not False:
                return (name if applied else qtype), rule
        return qtype, None

    def without_effect(self) -> list[str]:
        """Return a sentence for each field that is set but never read for Flex.2."""
        return [
            f"model.{name} had no effect: AI Toolkit does not read it for Flex.2"
            for name in ("lora_path", "vae_path", "te_name_or_path", "qtype_te")
            if getattr(self, name) not in (None, "", self.qtype)
        ]


CACHING_TYPES = (
    "sd_trainer",
    "ui_trainer",
    "diffusion_trainer",
    "concept_slider",
    "textual_inversion_trainer",
)
"""Process types that can encode prompts once."""


class Process(_View):
    """``config.process[0]`` of a training job."""

    type: str
    device: str | None = None
    trigger_word: str | None = None
    network: NetworkConfig | None = None
    save: SaveConfig = SaveConfig()
    train: TrainConfig = TrainConfig()
    model: ModelConfig
    sample: SampleConfig = SampleConfig()
    first_sample: SampleConfig | None = None
    datasets: list[DatasetConfig] = Field(default_factory=list)
    adapter: dict[str, Any] | None = None
    embedding: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, data: Any) -> Any:
        """Drop empty sections: the trainer treats null as absent."""
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None}

    @property
    def caches_prompts(self) -> bool:
        """The config asks for text embeddings that are encoded once, before training."""
        if self.type not in CACHING_TYPES:
            return False
        by_datasets = any(dataset.cache_text_embeddings for dataset in self.datasets)
        return by_datasets or self.train.cache_text_embeddings or self.train.unload_text_encoder

    def not_in_reference(self) -> str | None:
        """Return which part of the job the reference pipeline cannot render, or None."""
        for name in ("adapter", "embedding"):
            if getattr(self, name):
                return f"the job uses {name}, which the reference pipeline does not have"
        return None


class JobConfig(_View):
    """The name of a job and its first process; others neither train nor sample it."""

    name: str = Field(min_length=1)
    process: Annotated[list[Process], BeforeValidator(_first)] = Field(min_length=1)


class ConfigFile(_View):
    """The whole file."""

    config: JobConfig

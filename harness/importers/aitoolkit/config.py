"""A typed view of a training job's ``config.yaml``, as far as previews depend on it.

Fields and defaults: ``ostris/ai-toolkit``, ``toolkit/config_modules.py``. Fields not named here are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness.importers.aitoolkit.config_fields import Flag, NullIsAbsent, View
from harness.importers.aitoolkit.model_config import ModelConfig
from harness.importers.aitoolkit.sample_config import SampleConfig
from harness.schema.trainer_versions import EMA


class NetworkConfig(View):
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


class SaveConfig(View):
    """``save``."""

    save_every: int | None = 1000


class EmaConfig(View):
    """``train.ema_config``."""

    use_ema: Flag = False


class TrainConfig(View):
    """``train``."""

    steps: int = 1000
    dtype: str = "fp32"
    skip_first_sample: Flag = False
    force_first_sample: Flag = False
    merge_network_on_save: Flag = False
    unload_text_encoder: Flag = False
    cache_text_embeddings: Flag = False
    ema_config: EmaConfig | None = None
    attention_backend: str = "native"

    def ema(self, software: str | None) -> bool:
        """Say whether previews and saved files are exponential moving averages."""
        asked = self.ema_config is not None and self.ema_config.use_ema
        return asked and EMA.holds(software) is not False


class DatasetConfig(View):
    """One entry of ``datasets``."""

    cache_text_embeddings: Flag = False


CACHING_TYPES = (
    "sd_trainer",
    "ui_trainer",
    "diffusion_trainer",
    "concept_slider",
    "textual_inversion_trainer",
)
"""Process types that can encode prompts once."""


class Process(NullIsAbsent):
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
    decorator: dict[str, Any] | None = None

    @property
    def caches_prompts(self) -> bool:
        """The config asks for text embeddings that are encoded once, before training."""
        if self.type not in CACHING_TYPES:
            return False
        by_datasets = any(dataset.cache_text_embeddings for dataset in self.datasets)
        return by_datasets or self.train.cache_text_embeddings or self.train.unload_text_encoder

    def not_in_reference(self) -> str | None:
        """Return which part of the job the reference pipeline cannot render, or None."""
        for name in ("adapter", "embedding", "decorator"):
            if getattr(self, name):
                return f"the job uses {name}, which the reference pipeline does not have"
        return None


def _first(value: Any) -> Any:
    return value[:1] if isinstance(value, list) else value


class JobConfig(View):
    """The name of a job and its first process; others neither train nor sample it."""

    name: str = Field(min_length=1)
    process: Annotated[list[Process], BeforeValidator(_first)] = Field(min_length=1)


class ConfigFile(View):
    """The whole file."""

    config: JobConfig

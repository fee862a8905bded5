"""What a reader should know of how a job's previews came about, in sentences."""

from __future__ import annotations

from harness.importers.aitoolkit.config import Process
from harness.importers.aitoolkit.flux_preview import flux_notes
from harness.importers.aitoolkit.model_config import UNRECORDED, ModelConfig
from harness.schema.case_parts import SampleSettings
from harness.schema.quantizers import ACTIVATIONS_LEFT, QUANTIZERS, UNKNOWN
from harness.schema.spec import ModelSpec
from harness.schema.trainer_versions import ATTENTION_BACKEND, COMPILED


def notes_on_job(process: Process) -> list[str]:
    """Return what holds for every case."""
    notes = process.model.without_effect()
    if process.model.spec.flux_trainer:
        notes += flux_notes(process)
    network = process.network
    if network is not None and network.type == "lora" and network.scaling_alpha != network.lora_rank:
        notes.append(
            f"network.linear_alpha is {network.scaling_alpha:g} at rank {network.lora_rank:g}, but AI "
            f"Toolkit saves {process.model.spec.label} LoRAs without alpha: the scale is 1"
        )
    return notes


def notes_on_numerics(process: Process, software: str | None) -> list[str]:
    """Return what a version of the trainer made of the config, where a re-run differs in its arithmetic."""
    model, train, notes = process.model, process.train, []
    if model.quantize or model.quantize_te:
        qtype, rule = model.quantizer(software, process.device)
        if rule is not None and rule.holds(software):
            notes.append(f"{software}: {rule.what}")
        elif rule is not None:
            notes.append(f"it is unknown which quantizer was used ({rule.unknown(software)})")
        notes += _rotated(qtype, process.device) + _not_computed(qtype)
        if "|" in (model.qtype or "") and qtype != UNRECORDED:
            notes.append(
                f"AI Toolkit does not load the accuracy recovery adapter of model.qtype: plain {qtype}"
            )
    notes += _left_out(model)
    if not model.quantize and any(rule.holds(software) for rule in model.offloading(software)):
        notes.append(
            "layers were offloaded: the trainer kept the LoRA beside the weights (lora_mode adapter); it "
            "merges in other jobs that are not quantized"
        )
    if train.ema_config is not None and train.ema_config.use_ema and not train.ema(software):
        notes.append(f"train.ema_config had no effect: {software} does not set the average up")
    if train.attention_backend != "native" and ATTENTION_BACKEND.holds(software) is not False:
        notes.append(
            f"the trainer's attention kernel was {train.attention_backend!r}, another than the re-run's"
        )
    if model.compile and COMPILED.holds(software) is not False:
        notes.append("the trainer's transformer was compiled: other arithmetic than the re-run's")
    return notes


def _left_out(model: ModelConfig) -> list[str]:
    """Say which of the transformer's layers the job did not quantize."""
    kwargs = model.quantize_kwargs
    if not model.quantize:
        return []
    notes = []
    if kwargs.exclude:
        found = ", ".join(kwargs.exclude)
        notes.append(f"model.quantize_kwargs.exclude left out {found}: so does quantize_exclude in the case")
    if kwargs.include is not None:
        found = ", ".join(kwargs.include) or "nothing"
        notes.append(
            f"model.quantize_kwargs.include quantized {found} alone: so does quantize_exclude in the case"
        )
    if kwargs.activations is not None:
        notes.append("model.quantize_kwargs.activations is not followed: quantize in a case rounds weights")
    return notes


def _rotated(qtype: str, device: str | None) -> list[str]:
    """Say of a convrot quantizer what decides whether it rounds activations."""
    quantizer = QUANTIZERS.get(qtype)
    if quantizer is None or not quantizer.is_rotated:
        return []
    if quantizer.name.endswith(ACTIVATIONS_LEFT):
        apple = "; Apple silicon has a product of its own, rounded otherwise" if device != "cpu" else ""
        return [f"on device {device} AI Toolkit does not round activations: {quantizer.name}{apple}"]
    if quantizer.name == "convrot4":
        other = f"{quantizer.name}{ACTIVATIONS_LEFT}"
        return [f"AI Toolkit rounds activations on Blackwell GPUs and later; else it was {other}"]
    return []


def _not_computed(qtype: str) -> list[str]:
    """Say of a quantizer that nothing here computes what it is."""
    if qtype == UNRECORDED:
        return [
            "model.qtype names nothing, and AI Toolkit renders no preview so: the previews are of an earlier "
            "config, and what quantized them is not recorded"
        ]
    if qtype in QUANTIZERS:
        return []
    what = UNKNOWN.get(qtype)
    known = f"({what})" if what else "(none that AI Toolkit 0.12.26 knows)"
    return [
        f"quantizer {qtype!r} {known} is not supported: re-runs are not quantized, and drift by what it did"
    ]


def notes_on_size(spec: ModelSpec, settings: SampleSettings) -> list[str]:
    """Say how to render a size that the reference floors further than the trainer."""
    rendered = spec.snap(settings.width, settings.height)
    shown = spec.preview_size(settings.width, settings.height)
    if rendered == shown:
        return []
    return [
        f"the reference renders {rendered[0]}x{rendered[1]} where the preview is {shown[0]}x{shown[1]}: with "
        f"divisor: {spec.latent_divisor} in its case file, it is rendered at its own size"
    ]

"""What a case alone says about why its re-run may differ: no model is loaded, nothing is rendered."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

from harness._util.words import size_text
from harness.errors import HarnessError
from harness.judging import contradictions
from harness.metrics.codec import Codec
from harness.metrics.images import is_flat, load_rgb
from harness.precision.availability import missing
from harness.schema.case import Case
from harness.schema.lora_file import inspect_lora
from harness.schema.quantizers import setting_of
from harness.schema.result import Finding
from harness.schema.versions import behaviour, era_of_software, pins_of_software

_TRAINERS_JPEG = "JPEG, 4:2:0, quality 75 tables"
_ORDER = {"error": 0, "warning": 1, "info": 2}


def static_findings(case: Case) -> list[Finding]:
    """Return what ``case`` shows without a render, the most serious first."""
    found = [finding for check in _CHECKS if (finding := check(case)) is not None]
    return sorted(found, key=lambda finding: _ORDER[finding.severity])


def _incomparable(case: Case) -> Finding | None:
    if case.incomparable is None:
        return None
    control = "control" in case.incomparable
    name = "control-image" if control else "not-rerunnable"
    return Finding(name, "error", f"this preview cannot be re-run: {case.incomparable}", "incomparable")


def _flat(case: Case) -> Finding | None:
    try:
        image = load_rgb(case.preview_path)
    except HarnessError:
        return None  # the codec's finding says so
    if not is_flat(image):
        return None
    return Finding(
        "flat",
        "error",
        "the preview is one flat colour: NaN weights or a failed decode made it, and no setting explains it",
        "preview.file",
        f"look for NaN in the LoRA of step {case.preview.step}: training may have diverged",
    )


def _size(case: Case) -> Finding | None:
    asked = (case.settings.width, case.settings.height)
    shown = case.preview.size
    spec = case.spec
    if (rendered := spec.snap(*asked)) == shown:
        return None
    if shown != (made := spec.preview_size(*asked)):
        return _other_size(shown, asked, made, spec.latent_divisor)
    return Finding(
        "size",
        "error",
        f"the preview is {size_text(shown)} and the reference renders {size_text(rendered)} of "
        f"{size_text(asked)}: it floors to {spec.divisor}, the trainer to 8 and then {spec.latent_divisor}; "
        "the first noise has another shape, so the picture is another one",
        "preview.width",
        f"harness diagnose renders it at {size_text(shown)} with divisor {spec.latent_divisor}",
    )


def _other_size(shown: tuple[int, int], asked: tuple[int, int], made: tuple[int, int], unit: int) -> Finding:
    """Return the finding of a preview that the trainer does not make of the recorded size."""
    found = (
        f"the preview is {size_text(shown)}, and the trainer makes {size_text(made)} of {size_text(asked)}"
    )
    if shown[0] % unit or shown[1] % unit:
        found += f": it was scaled or cut after that, since what it draws is a multiple of {unit}"
        return Finding("size", "error", found, "preview.width", "give the preview as AI Toolkit wrote it")
    found += ": it was scaled or cut after that, or drawn at another size than the recorded one"
    fix = (
        f"give the preview as AI Toolkit wrote it, or set width {shown[0]} and height {shown[1]} in the case"
    )
    return Finding("size", "error", found, "settings.width", fix)


def _seed(case: Case) -> Finding | None:
    notes = [note for note in case.assumptions if "seed" in note.lower()]
    if not notes:
        return None
    return Finding("seed-rule", "info", "; ".join(notes), "settings.seed")


def _trigger(case: Case) -> Finding | None:
    word = case.trained.trigger_word
    if not word and "[trigger]" in case.settings.prompt:
        return Finding(
            "trigger-lost",
            "warning",
            "the prompt holds a literal [trigger] and the job names no trigger word: its config may lack it",
            "settings.prompt",
            "harness diagnose tries the words that the LoRA and the job's name hold",
        )
    if not word or word in case.settings.prompt or "[trigger]" in (case.trained.prompt_template or ""):
        return None
    return Finding(
        "trigger",
        "info",
        f"the job's trigger word {word!r} is not in this prompt: the trainer adds it only for [trigger]",
        "settings.prompt",
    )


def _flags(case: Case) -> Finding | None:
    template = case.trained.prompt_template or ""
    if "--" not in template:
        return None
    return Finding(
        "prompt-flags",
        "info",
        f"the prompt was cut at its first '--'; what follows are flags: {template[template.index('--') :]!r}",
        "trained.prompt_template",
    )


def _lora(case: Case) -> Finding | None:
    if case.lora_path is None:
        return None
    try:
        lora = inspect_lora(case.lora_path)
    except HarnessError as error:
        return Finding("lora-keys", "error", error.found, "lora.file", error.fix or "")
    if lora.step is None or case.preview.step is None or lora.step == case.preview.step:
        return None
    if lora.step in {neighbour.step for neighbour in case.neighbours}:
        return None  # rendered with it on purpose
    return Finding(
        "checkpoint",
        "warning",
        f"the preview is of step {case.preview.step} and the LoRA's metadata says step {lora.step}",
        "lora.file",
        "import the job again, or choose the checkpoint of that step",
    )


def _t5_attention(case: Case) -> Finding | None:
    pins = pins_of_software(case.trained.software)
    if pins is None:
        return None
    pinned, used = behaviour("t5_attention", pins.transformers), case.t5_attention or "eager"
    try:
        here = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        return None
    return Finding(
        "t5-attention",
        "info" if used == pinned else "warning",
        f"{case.trained.software} pins transformers {pins.transformers}, whose T5 attention is {pinned}; "
        f"{here} here uses {behaviour('t5_attention', here)} by default, and the re-run {used}",
        "t5_attention",
        "" if used == pinned else "harness diagnose tries both",
    )


def _quantized(case: Case) -> Finding | None:
    trained = case.trained
    parts = [name for name, on in (("transformer", trained.quantize), ("T5", trained.quantize_te)) if on]
    if not parts or case.quantize != "none":
        return None
    kind = trained.qtype or trained.qtype_te or "qfloat8"
    live = " and the LoRA as a live adapter" if trained.quantize else ""
    said = f"the job rendered with a quantized {' and '.join(parts)} ({kind}){live}"
    usual = f"; {_USUAL[kind]}" if kind in _USUAL and trained.quantize else ""
    setting = setting_of(kind, trained.quantize, trained.quantize_te)
    why = "" if setting is None else missing(kind) or ""
    if setting is None or why:
        found = f"{said}, which cannot be rendered here: the re-run is not quantized{usual}"
        fix = why if why.startswith("needs") else ""
        return Finding("quantized", "warning", found, "trained.quantize", fix)
    fix = f"set quantize: {setting} in the case file, or let harness fix do it"
    found = f"{said}; the re-run is not quantized{usual}"
    return Finding("quantized", "warning", found, "trained.quantize", fix)


_USUAL = {
    "uint4": "step-0 previews of a uint4 base were 26 to 31 dB and SSIM .91 to .96 from it",
    "float8": "step-0 previews of a float8 base were 30 to 36 dB from it",
}
"""How far quantizers moved previews of the drawing checkpoint from an unquantized re-run."""


def _noise(case: Case) -> Finding | None:
    if case.noise != "auto":
        return None
    software = case.trained.software
    pins, era = pins_of_software(software), era_of_software(software)
    if pins is None or era is None:
        return Finding(
            "noise-era",
            "info",
            f"{software or 'no software version'} is recorded, which does not tell the torch: up to 2.11 it "
            "draws other noise from the same seed, and shows another picture",
            "trained.software",
            "harness diagnose tries both; noise: legacy in the case file sets it",
        )
    return Finding(
        "noise-era",
        "warning" if era == "legacy" else "info",
        f"{software} came with torch {pins.torch}, which draws {era} noise, and so does the re-run; from the "
        "same seed, torch up to 2.11 and later ones draw other noise",
        "trained.software",
    )


def _codec(case: Case) -> Finding | None:
    try:
        codec = Codec.of(case.preview_path)
    except HarnessError as error:
        return Finding("preview", "error", error.found, "preview.file", error.fix or "")
    if case.trained.arch is not None and _saved_again(codec, case.preview_path.suffix.lower()):
        return Finding(
            "codec",
            "warning",
            f"the preview is {codec.describe()}, and the trainer writes {_TRAINERS_JPEG}: it was saved "
            "again, and what that changed counts as drift",
            "preview.file",
            "give the preview as AI Toolkit wrote it",
        )
    if codec.lossless:
        return None
    return Finding(
        "codec",
        "info",
        f"the preview is {codec.describe()}: the re-run is encoded the same way before it is compared",
        "preview.file",
    )


def _saved_again(codec: Codec, suffix: str) -> bool:
    """Say whether a file of that suffix cannot be one that the trainer wrote, with Pillow's defaults."""
    is_jpeg = codec.format == "jpeg"
    return (is_jpeg and codec.describe() != _TRAINERS_JPEG) or (suffix in {".jpg", ".jpeg"} and not is_jpeg)


def _idle(case: Case) -> Finding | None:
    sampler = None if case.spec.flux_trainer else case.trained.sampler
    idle = [name for name, value in (("neg", case.settings.neg), ("sampler", sampler)) if value]
    if not idle:
        return None
    return Finding(
        "idle-settings",
        "info",
        f"{' and '.join(idle)} {'do' if len(idle) > 1 else 'does'} nothing for {case.spec.label}: guidance "
        "is embedded and the scheduler is fixed; a static shift does nothing either while dynamic shifting "
        "is on",
        "settings.neg" if "neg" in idle else "trained.sampler",
    )


def _ema(case: Case) -> Finding | None:
    if not case.trained.ema:
        return None
    return Finding(
        "ema", "info", "preview and saved LoRA both show the average of the weights", "trained.ema"
    )


def _older_config(case: Case) -> Finding | None:
    if case.preview.older_config is None:
        return None
    return Finding(
        "older-config",
        "warning",
        "the preview is older than the config: prompt, seed, steps or guidance may have been others then",
        "preview.older_config",
        "compare with the config of that time, if it was kept",
    )


_CHECKS: tuple[Callable[[Case], Finding | None], ...] = (
    _incomparable, contradictions.changed_files, _flat, _older_config, _size,
    contradictions.prompt, contradictions.no_lora, contradictions.other_lora, contradictions.no_effect,
    contradictions.base, contradictions.quantize, contradictions.noise,
    _seed, _trigger, _flags, _lora, _quantized, _noise, _t5_attention,
    _codec, _idle, _ema,
)  # fmt: skip

"""What a case alone says about why its re-run may differ: no model is loaded, nothing is rendered."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

from harness.errors import HarnessError
from harness.judging import contradictions, preview_findings
from harness.precision.availability import missing
from harness.schema.case import Case
from harness.schema.lora_file import inspect_lora
from harness.schema.quantizers import setting_of
from harness.schema.result import Finding
from harness.schema.versions import behaviour, era_of_software, pins_of_software

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
        return Finding("lora-keys", "error", f"the LoRA {error.found}", "lora.file", error.fix or "")
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


_CHECKS: tuple[Callable[[Case], Finding | None], ...] = (
    _incomparable, contradictions.changed_files,
    preview_findings.flat, preview_findings.older_config, preview_findings.size,
    contradictions.prompt, contradictions.no_lora, contradictions.other_lora, contradictions.no_effect,
    contradictions.base, contradictions.quantize, contradictions.noise,
    _seed, _trigger, _flags, _lora, _quantized, _noise, _t5_attention,
    preview_findings.codec, _idle, _ema,
)  # fmt: skip

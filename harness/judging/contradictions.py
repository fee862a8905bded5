"""Where a case contradicts its own files, or what the job recorded: something was altered after the import.

What a diagnosis wrote into the case (``harness fix``) is no contradiction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness._util.atomic_files import sha256_file
from harness.errors import HarnessError
from harness.schema.case import Case
from harness.schema.lora_file import LoraFile, inspect_lora
from harness.schema.quantizers import recorded_settings
from harness.schema.result import Finding
from harness.schema.spec import trainer_edge
from harness.schema.trainer_prompt import inject_trigger, parse_prompt
from harness.schema.trainer_versions import LITERAL_TRIGGER
from harness.schema.versions import era_of_software

_AGAIN = "import the job again, or put the job's own value back"
_STEP = re.compile(r"_\d{9}$")


def changed_files(case: Case) -> Finding | None:
    """Compare preview and LoRA with the hashes that the import wrote down."""
    parts = []
    try:
        if case.preview_path.is_file() and sha256_file(case.preview_path) != case.preview.sha256:
            parts.append(("preview.sha256", case.preview.file))
    except OSError:
        return None  # the codec's finding says so
    lora = _lora(case)
    if lora is not None and case.lora is not None and lora.sha256 != case.lora.sha256:
        parts.append(("lora.sha256", case.lora.file))
    if not parts:
        return None
    names = " and ".join(name for _, name in parts)
    found = (
        f"{names} changed after the import: {'they are not the files' if parts[1:] else 'it is not the file'}"
    )
    return Finding(
        "changed", "error", f"{found} that the case was made of", parts[0][0], "restore it, or import again"
    )


def prompt(case: Case) -> Finding | None:
    """Compare prompt and flags' settings with what the trainer makes of the template."""
    template, word = case.trained.prompt_template, case.trained.trigger_word
    if template is None or case.incomparable is not None:
        return None
    try:
        parsed = parse_prompt(inject_trigger(template, word))
        literal = parse_prompt(template)
    except ValueError:
        return None
    kept = any(LITERAL_TRIGGER.what in note for note in case.assumptions)
    made = literal if kept else parsed
    if case.settings.prompt != made.prompt and not _diagnosed(case, "trigger"):
        found = f"the trainer makes {made.prompt!r} of the job's prompt"
        found += f", and the case has {case.settings.prompt!r}"
        return Finding("prompt-changed", "warning", found, "settings.prompt", _AGAIN)
    for name, given, used in _flags(case, made.fields):
        if not _same(name, given, used):
            found = f"the job's prompt sets {name} {given}, and the case has {used}"
            where = "lora" if name == "network_multiplier" else "settings"
            return Finding("flag-changed", "warning", found, f"{where}.{name}", _AGAIN)
    return None


def _flags(case: Case, fields: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    axes = {"sample_steps": "steps"}
    for name, given in fields.items():
        if _diagnosed(case, axes.get(name, name)):
            continue
        if name == "network_multiplier":
            if case.lora is not None:
                yield name, given, case.lora.network_multiplier
        elif name != "neg" and hasattr(case.settings, name):
            yield name, given, getattr(case.settings, name)


def _same(name: str, given: Any, used: Any) -> bool:
    if name == "seed":
        return int(given) % 2**64 == int(used) % 2**64
    return bool((trainer_edge(given) if name in {"width", "height"} else given) == used)


def no_lora(case: Case) -> Finding | None:
    """Name a preview of a trained step whose case has no LoRA."""
    if case.lora is not None or case.incomparable is not None or not case.preview.step:
        return None
    found = (
        f"the preview is of step {case.preview.step} and the case names no LoRA: the base alone is rendered"
    )
    return Finding("no-lora", "warning", found, "lora", "import the job again, with its .safetensors files")


def other_lora(case: Case) -> Finding | None:
    """Name a LoRA that says itself that it is another model's, or another job's."""
    if (lora := _lora(case)) is None or case.lora is None:
        return None
    model, job = lora.metadata.get("ss_base_model_version"), lora.metadata.get("ss_output_name")
    if model and not case.spec.flux_trainer and model != case.spec.name:
        found = f"the LoRA's metadata says that it was trained for {model[:60]!r}, not for {case.spec.label}"
        return Finding("lora-model", "warning", found, "lora.file", "give the LoRA of this job")
    names = {_STEP.sub("", lora.path.stem), case.job}
    if not job or job in names or case.trained.arch is None:
        return None
    found = (
        f"the LoRA's metadata says that job {job[:60]!r} saved it, and its file is called {lora.path.name}"
    )
    return Finding("lora-job", "warning", found, "lora.file", "give the LoRA of this job, if it is another's")


def no_effect(case: Case) -> Finding | None:
    """Name a LoRA that changes nothing: one of zeros, or one that is multiplied by 0."""
    lora = _lora(case)
    if lora is not None and lora.is_zero:
        found = "the LoRA changes nothing: lora_A or lora_B of every layer is zero, as before the first step"
        return Finding("lora-zero", "warning", found, "lora.file", "give the LoRA that the step saved")
    if case.lora is not None and case.lora.network_multiplier == 0:
        found = "network_multiplier 0: the base alone is rendered"
        return Finding("lora-off", "info", found, "lora.network_multiplier")
    return None


def base(case: Case) -> Finding | None:
    """Compare the base with ``model.name_or_path`` of the job, where both are names."""
    trained = case.trained.base
    if trained is None or case.base.path is not None:
        return None
    named = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", trained)
    own = trained if named else re.split(r"[/\\]", trained.rstrip("/\\"))[-1]
    if (case.base.repo if named else case.base.embedded) == own or (case.base.repo and not named):
        return None
    found = f"the job trained on {trained}, and the re-run is made with {case.base}"
    return Finding(
        "base-changed", "warning", found, "base", "name the job's base: --base, or base in the case"
    )


def quantize(case: Case) -> Finding | None:
    """Name a case that quantizes otherwise than its job did; one that does not at all is another finding."""
    trained = case.trained
    if trained.base is None or case.quantize == "none" or _diagnosed(case, "quantize"):
        return None
    kind = trained.qtype or trained.qtype_te or "qfloat8"
    did = recorded_settings(kind, trained.quantize, trained.quantize_te)
    if case.quantize in did or (not did and (trained.quantize or trained.quantize_te)):
        return None
    said = f"with {did[0]}" if did else "without quantizing"
    found = f"the re-run is quantized ({case.quantize}), and the job rendered {said}"
    return Finding("quantize-changed", "warning", found, "quantize", _AGAIN)


def noise(case: Case) -> Finding | None:
    """Name a noise era that is set against what the trainer's version draws."""
    era = era_of_software(case.trained.software)
    if case.noise == "auto" or era in {None, case.noise} or _diagnosed(case, "noise"):
        return None
    found = (
        f"the case sets {case.noise} noise, and {case.trained.software} came with a torch that draws {era}"
    )
    return Finding("noise-changed", "warning", f"{found} noise: another picture", "noise", "set noise: auto")


def _diagnosed(case: Case, axis: str) -> bool:
    return any(note.startswith(f"diagnosed: {axis} ") for note in case.assumptions)


def _lora(case: Case) -> LoraFile | None:
    """Return the case's LoRA where it can be used; where it cannot, another finding says so."""
    if case.lora_path is None:
        return None
    try:
        return inspect_lora(case.lora_path)
    except HarnessError:
        return None

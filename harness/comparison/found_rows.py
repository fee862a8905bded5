"""What a search found, as rows in a case file's words."""

from __future__ import annotations

import dataclasses

from harness.comparison.setting_row import SettingRow, State
from harness.importers.image_metadata.inference_settings import Scalar
from harness.schema.case import Case
from harness.schema.render import RenderRequest
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context, prompts
from harness.sweeps.axis_values import show

_SETTING_OF = {
    "steps": "sample_steps", "trigger": "prompt", "checkpoint": "lora", "divisor": "size",
    "dynamic_shifting": "shift", "base_shift": "shift", "max_shift": "shift", "scheduler": "sampler",
}  # fmt: skip
"""Axes by the name that their setting has here, where it is another."""
_REFUTED = frozenset({"seed", "sample_steps", "guidance_scale", "network_multiplier"})
"""Settings whose every difference a search would have found: a statement of another value is wrong."""
_DIALECT_SETTINGS = (
    "blanks",
    "max_sequence_length",
    "schedule",
    "shift",
    "latents",
    "timestep",
    "rounding",
    "kernels",
    "lora_mode",
)


def found_rows(
    case: Case, context: Context, request: RenderRequest, settings: dict[str, Scalar], dialect: str
) -> list[SettingRow]:
    """Return the rows of what renders found: changed settings, and the ways of the dialect.

    Args:
        context: the case with its own request.
        request: what the image was found to be rendered by.
        settings: changed axes and their values, on top of the dialect.
    """
    own_values = {name: AXES[name].read(context, context.request) for name in settings}
    rows = [
        _row(case, context, name, value)
        for name, value in settings.items()
        if name not in {"attention", "t5_attention"} and value != own_values[name]
    ]
    taken = {row.setting for row in rows}
    for name in _DIALECT_SETTINGS if dialect != "reference" else ():
        own, theirs = _way(context.request, name), _way(request, name)
        if name not in taken and own != theirs:
            rows.append(SettingRow(name, own, theirs, State.TOOL, f"the way of {dialect}", source="rendered"))
    return rows


def kernel_rows(request: RenderRequest, own: RenderRequest, dialect: str) -> list[SettingRow]:
    """Return a row for the kernel of T5's attention where an image's is not the preview's.

    It comes with the version of transformers that is installed; nobody chose it.
    """
    if request.t5_attention == own.t5_attention:
        return []
    versions = {"sdpa": "transformers 5.15 or later", "eager": "transformers before 5.15"}
    place = f"the way of {dialect}" if dialect != "reference" else versions[request.t5_attention]
    return [
        SettingRow(
            "t5_attention", own.t5_attention, request.t5_attention, State.TOOL, place, source="rendered"
        )
    ]


def with_found(stated: list[SettingRow], found: list[SettingRow], *, explained: bool) -> list[SettingRow]:
    """Return the rows of the static difference, completed by what renders found.

    Where the picture is explained, a setting that is unknown or wrongly stated, and not found, is the same.
    """
    by_setting = {row.setting: row for row in found}
    rows = [row for row in stated if row.setting not in by_setting]
    return [*(_as_rendered(row) if explained else row for row in rows), *found]


def _as_rendered(row: SettingRow) -> SettingRow:
    """Return the row of a setting that an explained picture has as the preview has it."""
    is_refuted = row.state is State.DIFFERS and row.setting in _REFUTED
    if row.state is not State.UNKNOWN and not is_refuted:
        return row
    note = f"stated as {row.inference}, which the picture refutes" if is_refuted else row.note
    return dataclasses.replace(row, inference=row.preview, state=State.SAME, note=note, source="rendered")


def _row(case: Case, context: Context, name: str, value: Scalar) -> SettingRow:
    setting = _SETTING_OF.get(name, name)
    own: Scalar = AXES[name].read(context, context.request)
    note = ""
    if name == "trigger":
        known = prompts(case)
        own, value, note = case.settings.prompt, known[str(value)], f"the trigger word is {value}"
    elif name == "checkpoint":
        own, value = f"step {own}", f"step {value}"
    elif (name, value) in {("lora_mode", "none"), ("network_multiplier", 0.0)}:
        value = "none"
        setting, own = "lora", case.lora.file.rpartition("/")[2] if case.lora else "none"
    elif setting == "shift":
        own, value = "dynamic", f"{name} {show(value)}"
    return SettingRow(setting, own, value, State.DIFFERS, "found by rendering", note, "rendered")


def _way(request: RenderRequest, name: str) -> Scalar:
    if name == "lora_mode":
        return request.effective_lora_mode
    if name == "max_sequence_length":
        return request.max_sequence_length or 512
    if name == "shift":
        return (
            "dynamic" if request.shift.dynamic_shifting is not False else f"static {request.shift.shift:.4g}"
        )
    value: Scalar | None = getattr(request.dialect, name)
    return "linear" if value is None else value

"""What no setting of a tool removes, in sentences."""

from __future__ import annotations

from harness.comparison.setting_row import SettingRow, State

_SETTABLE = {"comfyui": frozenset({"max_sequence_length", "schedule", "shift"})}
"""What a tool does otherwise until somebody sets it: with T5TokenizerOptions and ModelSamplingFlux."""


def remaining(rows: list[SettingRow], dialect: str) -> list[str]:
    """Return a sentence for each of the tool's own ways that stays whatever is set.

    Args:
        dialect: a name in ``DIALECTS``.
    """
    lines = []
    own = {row.setting: row for row in rows if row.state is State.TOOL}
    if "blanks" in own:
        lines.append(
            "FlexTools normalises the blank conditions: no setting of the workflow reaches the preview; the "
            "node that harness export comfy writes repairs them"
        )
    if "noise" in own and own["noise"].preview == "legacy":
        lines.append("legacy-era noise: no seed of this tool draws the preview's first latents")
    if "t5_attention" in own:
        kernel = own["t5_attention"]
        theirs = f"{kernel.inference} in the image ({kernel.place})"
        lines.append(f"T5's attention: {theirs}, {kernel.preview} in the re-run")
    said = {"blanks", "noise", "t5_attention", *_SETTABLE.get(dialect, ())}
    others = [name for name in own if name not in said]
    if others:
        lines.append(f"the tool's own ways in {', '.join(others)}")
    return lines

"""Whether a place holds the run that is asked for: cases, options, bases and environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import RunError

CASES = "cases"
"""What a run's identity calls its cases."""


def refuse_other(
    found: dict[str, Any],
    identity: dict[str, Any],
    where: Path | str,
    option: str = "--out",
    *,
    any_gpu: bool = False,
) -> None:
    """Refuse a place whose run has another identity.

    Args:
        option: what named the place.
        any_gpu: whether a run on another GPU counts as the same: each of several workers may see its own.

    Raises:
        RunError: names what differs.
    """
    names = differences(found, identity)
    if any_gpu:
        names = [name for name in names if not name.startswith("environment.gpu.")]
    if names:
        raise RunError(
            f"holds another run: {', '.join(names)} differ",
            file=where,
            field=option,
            fix="choose another place, or repeat that run's own command to resume it",
        )


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of fields that differ, dotted (``environment.threads``)."""
    names = []
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += [f"{key}.{name}" for name in differences(a, b)]
        elif a != b:
            names.append(key)
    return names


def grown(identity: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return an identity with the cases and bases of another one added."""
    cases = sorted({*identity.get(CASES, []), *other.get(CASES, [])})
    return {**identity, CASES: cases, "bases": {**other.get("bases", {}), **identity.get("bases", {})}}

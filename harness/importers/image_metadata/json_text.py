"""JSON of strangers: read within limits, as plain objects."""

from __future__ import annotations

import json
import math

MAX_DEPTH = 64
"""Levels of nesting that are followed."""
MAX_INTEGER_DIGITS = 30
MAX_PARTS = 500_000
"""Brackets of one text: what a hostile one would fill memory with."""


def read_object(text: str) -> dict[str, object] | None:
    """Return the JSON object that ``text`` holds; None where it is not one, or too large or too deep."""
    if text.count("{") + text.count("[") > MAX_PARTS or _depth(text) > MAX_DEPTH:
        return None
    try:
        found = json.loads(text, parse_int=_integer, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def number(value: object) -> float | int | None:
    """Return a finite number, also one that is written as text; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if len(value) > MAX_INTEGER_DIGITS:
            return None
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    if isinstance(value, int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def integer(value: object) -> int | None:
    """Return a whole number, or None."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def text(value: object) -> str | None:
    """Return text, or None for anything else."""
    return value if isinstance(value, str) else None


def entries(value: object) -> list[dict[str, object]]:
    """Return the mappings in a list; what is none is left out."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else None


def _depth(text: str) -> int:
    """Return how deep brackets nest, those inside of strings left out."""
    deepest = depth = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest

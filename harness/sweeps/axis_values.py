"""Values of axes as a user writes them: parsed, checked against a range, and printed again."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable

from harness.errors import HarnessError

Value = str | int | float | bool
Parse = Callable[[str], Value]

_ON = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def show(value: Value) -> str:
    """Return a value as a user would write it: ``on``, ``3.5``, ``UniPC``; no two values look the same."""
    if isinstance(value, bool):
        return "on" if value else "off"
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def number(axis: str, low: float, high: float) -> Parse:
    """Return a parser of finite numbers from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise HarnessError(f"{text!r} is no number from {low:g} to {high:g}", field=axis)
        return value

    return parse


def integer(axis: str, low: int, high: int) -> Parse:
    """Return a parser of whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,20}", text) or not low <= int(text) <= high:
            raise HarnessError(f"{text!r} is no whole number from {low} to {high}", field=axis)
        return int(text)

    return parse


def choice(axis: str, names: Iterable[str]) -> Parse:
    """Return a parser of one of ``names``; case does not count."""
    known = {name.lower(): name for name in names}

    def parse(text: str) -> str:
        if text.lower() in known:
            return known[text.lower()]
        raise unknown(axis, f"unknown value {text!r}", text, known.values())

    return parse


def switch(axis: str) -> Parse:
    """Return a parser of ``on`` and ``off``."""

    def parse(text: str) -> bool:
        if text.lower() in _ON:
            return _ON[text.lower()]
        raise HarnessError(f"unknown value {text!r}", field=axis, fix="write on or off")

    return parse


def unknown(field: str | None, found: str, name: str, known: Iterable[str]) -> HarnessError:
    """Return the error for a name that is not known, with the nearest one that is."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), [each.lower() for each in names], n=1, cutoff=0.5)
    nearest = [each for each in names if near and each.lower() == near[0]]
    fix = f"did you mean {nearest[0]!r}?" if nearest else f"choose {', '.join(names)}"
    return HarnessError(found, field=field, fix=fix)

"""How AI Toolkit reads the values of a config that are not of their field's type."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


def _as_multiplier(value: Any) -> Any:
    """Read a string as a number; the trainer takes any other text for 1."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return 1.0


def _as_seed(value: Any) -> Any:
    """Truncate to an integer, as torch does with a seed."""
    return _truncated(value) if isinstance(value, str | float) else value


def _as_edge(value: Any) -> Any:
    """Truncate to whole pixels; what is cut off belongs to the part that the trainer floors away."""
    return _truncated(value) if isinstance(value, float) else value


def _truncated(value: str | float) -> int | str | float:
    try:
        return int(value)
    except (ValueError, OverflowError):
        return value


def as_negative(value: Any) -> Any:
    """Read null, False and nothing as no negative prompt."""
    return value or ""


Flag = Annotated[bool, BeforeValidator(bool)]
Multiplier = Annotated[float, BeforeValidator(_as_multiplier)]
Edge = Annotated[int, BeforeValidator(_as_edge)]
Seed = Annotated[int, BeforeValidator(_as_seed)]
Negative = Annotated[str, BeforeValidator(as_negative)]


class View(BaseModel):
    """A section of a config, as far as previews depend on it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class NullIsAbsent(View):
    """A section in which the trainer treats null as absent."""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None}

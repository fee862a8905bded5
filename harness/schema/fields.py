"""Models that convert nothing silently, and the kinds of text that their fields hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and converts nothing silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _safe_id(value: str) -> str:
    parts = value.split("/")
    if any(part in {"", ".", ".."} or part.startswith("-") for part in parts):
        raise ValueError("an id is words joined by '/', none of them empty, '.', '..' or starting with '-'")
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("a path holds no NUL character")
    return value


def _inside(value: str) -> str:
    path = Path(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a path must stay inside the case file's folder: no leading '/', no '..'")
    return value


CaseId = Annotated[str, Field(pattern=r"^[\w.+ -]+(/[\w.+ -]+)*$", max_length=200), AfterValidator(_safe_id)]
AnyPath = Annotated[str, AfterValidator(_without_nul)]
InnerPath = Annotated[AnyPath, Field(min_length=1), AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

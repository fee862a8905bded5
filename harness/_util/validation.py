"""One readable problem out of a pydantic ``ValidationError``."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from harness._util.atomic_files import disk_errors_as, read_bytes

Model = TypeVar("Model", bound=BaseModel)

_REPR = reprlib.Repr()  # an untrusted value may be deep, or expand to gigabytes
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 100


def first_problem(
    error: ValidationError, model: type[BaseModel], fix: str | None = None
) -> tuple[str | None, str, str | None]:
    """Return (field, what was found, what to do) of the first problem in ``error``.

    An unknown key goes first, since what seems missing is often misspelt. Its fix is the nearest key that
    ``model`` knows at that place; without one ``fix``, or all that are known.
    """
    problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    location, at = _walk([str(part) for part in problem["loc"]], model)
    field = ".".join(location) or None
    if problem["type"] == "extra_forbidden":
        known = list(at.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else None
        return field, "unknown key", meant or fix or f"known keys: {', '.join(known)}"
    found = problem["msg"].removeprefix("Value error, ")
    found = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", found)
    if problem["type"] not in {"missing", "value_error"}:
        found = f"{found}, found {_short(problem['input'])}"
    return field, found, fix


def read_model(
    path: Path,
    model: type[Model],
    error: Callable[..., Exception],
    *,
    fix: str,
    missing_fix: str | None = None,
) -> Model:
    """Return the JSON file at ``path`` as a ``model``.

    Args:
        error: makes the exception, from what was found and ``file``, ``field`` and ``fix``.
        fix: what to do about a file of other content, where its problem does not say so itself.
        missing_fix: what to do about a file that cannot be read.
    """
    with disk_errors_as(error, "cannot be read", file=path, fix=missing_fix):
        data = read_bytes(path)
    with problems_as(error, model, file=path, fix=fix):
        return model.model_validate_json(data)


@contextmanager
def problems_as(
    error: Callable[..., Exception], model: type[BaseModel], *, file: Path | str, fix: str | None = None
) -> Iterator[None]:
    """Say a ``ValidationError`` of ``model`` in the block in one line.

    Args:
        error: makes the exception, from what was found and ``file``, ``field`` and ``fix``.
        fix: what to do, where the problem does not say so itself.
    """
    try:
        yield
    except ValidationError as problem:
        field, found, fix = first_problem(problem, model, fix)
        raise error(found, file=file, field=field, fix=fix) from problem


def _short(value: Any, limit: int = 60) -> str:
    text = _REPR.repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _walk(location: list[str], model: type[BaseModel]) -> tuple[list[str], type[BaseModel]]:
    """Return the location without pydantic's names for members of a union, and the model at that place."""
    path = []
    for name in location:
        if name == model.__name__:
            continue
        path.append(name)
        field = model.model_fields.get(name)
        model = (field and _model_of(field.annotation)) or model
    return path, model


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_of(inner)) is not None), None)

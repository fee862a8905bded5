"""The reference server's request JSON, read as the server reads it.

Fields, limits and conversions: ``runcomfy-com/ai-toolkit-inference``, ``src/schemas/request.py``.
Like the server's, these models turn "42" and 42.0 into 42 and let unknown keys pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from harness._util.atomic_files import read_bytes
from harness._util.validation import first_problem
from harness.errors import RequestError
from harness.schema.server_result import ServerResult
from harness.schema.spec import Limits, known_model

_LIMITS = Limits()
RANDOM_SEED = -1


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


M = TypeVar("M", bound=BaseModel)


class LoraItem(_Lenient):
    """One LoRA of a request."""

    path: str = Field(min_length=1)
    transformer: Literal["low", "high"] | None = None
    network_multiplier: float | None = Field(
        None, ge=_LIMITS.network_multiplier[0], le=_LIMITS.network_multiplier[1]
    )


class PromptItem(_Lenient):
    """One prompt of a request; None takes the reference's default. Sizes in pixels."""

    prompt: str
    trigger_word: str | None = None
    width: int | None = Field(None, ge=_LIMITS.size[0], le=_LIMITS.size[1])
    height: int | None = Field(None, ge=_LIMITS.size[0], le=_LIMITS.size[1])
    guidance_scale: float | None = Field(None, ge=_LIMITS.guidance_scale[0], le=_LIMITS.guidance_scale[1])
    sample_steps: int | None = Field(None, ge=_LIMITS.sample_steps[0], le=_LIMITS.sample_steps[1])
    neg: str | None = None
    seed: int | None = Field(None, ge=RANDOM_SEED, le=_LIMITS.seed[1])
    sampler: str | None = None
    num_frames: int | None = Field(None, ge=1, le=1000)
    fps: int | None = Field(None, ge=1, le=120)
    resolution: Literal["Default", "High"] | None = None
    ctrl_img: str | None = None
    ctrl_img_1: str | None = None
    ctrl_img_2: str | None = None
    ctrl_img_3: str | None = None


class InferenceRequest(_Lenient):
    """The body of ``POST /v1/inference``; the last three fields concern no model here."""

    model: Annotated[str, AfterValidator(known_model)]
    loras: list[LoraItem] = Field(default_factory=list)
    trigger_word: str | None = None
    prompts: list[PromptItem] = Field(min_length=1)
    hf_token: str | None = None
    kv_cache: bool | None = None
    match_target_res: bool | None = None

    def unknown_keys(self) -> Iterator[str]:
        """Yield the path of every key that the server does not know, and drops."""
        yield from self.model_extra or {}
        for name, items in (("loras", self.loras), ("prompts", self.prompts)):
            for index, item in enumerate(items):
                yield from (f"{name}[{index}].{key}" for key in item.model_extra or {})


def load_request(path: Path) -> tuple[InferenceRequest, ServerResult | None]:
    """Read a request JSON, also one that is wrapped as ``{"input": request, "outputs": …}``.

    Returns:
        The request, and what lies beside it of a result.

    Raises:
        RequestError: not readable, not JSON, or not a valid request for a model known here; names the field.
    """
    data = _read_json(path)
    wrapped = isinstance(data.get("input"), dict) and "prompts" not in data
    if not wrapped:
        return _parse(path, data, InferenceRequest), None
    beside = _parse(path, data, ServerResult) if data.get("outputs") else None
    return _parse(path, data["input"], InferenceRequest, "input."), beside


def load_result(path: Path) -> ServerResult:
    """Read the server's result JSON.

    Raises:
        RequestError: not readable, not JSON, not a result, or of a request that failed.
    """
    result = _parse(path, _read_json(path), ServerResult)
    if result.status not in {None, "succeeded"}:
        raise RequestError(f"is {result.status!r}, not succeeded", file=path, field="status")
    if result.outputs is None:
        raise RequestError("is missing", file=path, field="outputs", fix="give the server's result JSON")
    return result


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_bytes(path).decode("utf-8-sig"))
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror})", file=path) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"is not valid JSON ({error})", file=path) from error
    if not isinstance(data, dict):
        raise RequestError("holds no mapping", file=path, fix="give the JSON that was sent to /v1/inference")
    return data


def _parse(path: Path, data: dict[str, Any], model: type[M], prefix: str = "") -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        field, found, fix = first_problem(error, model)
        field = prefix + re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field) if field else None
        raise RequestError(found, file=path, field=field, fix=fix) from error

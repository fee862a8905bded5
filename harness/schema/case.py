"""The case file: one preview with its settings, its LoRA and its base.

A case file is YAML, named ``*.case.yaml``. Every path in it is relative to the file's own folder.
Unknown keys are refused; a file that was loaded and saved again says the same thing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, WithJsonSchema, model_validator

from harness._util.atomic_files import sha256_file, write_bytes
from harness._util.given_paths import path_list
from harness._util.real_paths import real_path
from harness._util.strict_yaml import read_mapping, write_yaml
from harness._util.validation import problems_as
from harness.errors import CaseError
from harness.schema.base import Base
from harness.schema.case_parts import LoraRef, Neighbour, Preview, SampleSettings, Trained
from harness.schema.fields import CaseId, Strict
from harness.schema.metric_limits import Tolerance
from harness.schema.quantizers import SETTINGS
from harness.schema.spec import DEFAULT_MODEL, MODELS, Defaults, ModelSpec, known_model, spec_of
from harness.schema.versions import T5Attention

SUFFIX = ".case.yaml"
SCHEMA_FILE = "case.schema.json"


def _quantizer(value: str) -> str:
    if value not in SETTINGS:
        raise ValueError("must be none, or a quantizer that harness schema lists, e.g. qfloat8 or qfloat8-te")
    return value


Noise = Literal["auto", "current", "legacy"]
EncoderDtype = Literal["fp16"]
Quantize = Annotated[
    str, AfterValidator(_quantizer), WithJsonSchema({"enum": list(SETTINGS), "type": "string"})
]
ModelName = Annotated[str, AfterValidator(known_model), Field(json_schema_extra={"enum": [*MODELS]})]


_DEFAULTS = Defaults()


class Case(Strict):
    """One preview with its settings, LoRA and base."""

    id: CaseId
    model: ModelName = DEFAULT_MODEL
    base: Base
    pipeline: Literal["hub", "builtin"] | None = Field(
        None, description="Pipeline code; unset: hub for a repository, builtin for an embedded checkpoint."
    )
    preview: Preview
    lora: LoraRef | None = Field(None, description="Absent: the preview shows the base model alone.")
    neighbours: list[Neighbour] = Field(
        default_factory=list,
        max_length=2,
        description="Of a preview without its checkpoint: the saved ones before and after it; "
        "harness run --neighbours renders them.",
    )
    settings: SampleSettings
    trained: Trained = Field(default_factory=Trained)
    noise: Noise = Field(
        "auto",
        description="Era of the first latents: torch up to 2.11 is legacy. auto: legacy where the recorded "
        "software version says so, else what the installed torch draws.",
    )
    quantize: Quantize = Field(
        "none",
        description="Quantize as the job did, e.g. qfloat8: both, or the transformer or T5 (te) alone.",
    )
    quantize_exclude: list[str] = Field(
        default_factory=list,
        description="Layers of the transformer that a quantizer of the trainer leaves as they are: patterns "
        "like *time_text_embed*, as in the job's model.quantize_kwargs.exclude. A pattern after ! names what "
        "alone is quantized, as its include does.",
    )
    encoder_dtype: EncoderDtype | None = Field(
        None,
        description="fp16: all weights of T5, as AI Toolkit casts them; unset: as transformers loads them, "
        "which keeps wo in fp32 under fp16.",
    )
    divisor: Literal[16, 32] | None = Field(
        None,
        description="Width and height are floored to a multiple of it, in pixels: 16 as the trainer does; "
        "unset: 32, as the reference does.",
    )
    t5_attention: T5Attention | None = Field(
        None,
        description="T5's attention: sdpa by default from transformers 5.15 on; unset: eager, as before.",
    )
    tolerance: Tolerance | None = None
    incomparable: str | None = Field(
        None, min_length=1, description="Why this preview cannot be re-run, if it cannot."
    )
    assumptions: list[str] = Field(default_factory=list, description="What the import had to assume.")

    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _as_its_model(cls, data: Any) -> Any:
        """Fill in what the model's own defaults are, where they are not those of most models."""
        defaults = MODELS[name].defaults if (name := _model_in(data)) in MODELS else _DEFAULTS
        settings = data.get("settings") if isinstance(data, dict) else None
        if defaults == _DEFAULTS or not isinstance(settings, dict):
            return data
        own = {field: getattr(defaults, field) for field in SampleSettings.model_fields if field != "prompt"}
        return {**data, "settings": own | settings}

    @property
    def job(self) -> str:
        """The part of the id before the last slash; empty where there is none."""
        return self.id.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The part of the id after the last slash; an import names the case's file by it."""
        return self.id.rpartition("/")[2]

    @property
    def spec(self) -> ModelSpec:
        """What the reference fixes for the case's model."""
        return spec_of(self.model)

    @model_validator(mode="after")
    def _renderable(self) -> Case:
        if self.incomparable is not None:
            return self
        if problem := self.settings.outside(self.spec.limits):
            raise ValueError(f"settings.{problem[0]}: {problem[1]}")
        if self.settings.seed == -1:
            raise ValueError(
                "settings.seed: -1 (random) cannot be re-run; set the seed, or say so in incomparable"
            )
        low, high = self.spec.limits.network_multiplier
        if self.lora is not None and not low <= self.lora.network_multiplier <= high:
            raise ValueError(
                f"lora.network_multiplier: {self.lora.network_multiplier} is outside the reference's range "
                f"{low} to {high}"
            )
        return self

    def at(self, path: str | os.PathLike[str]) -> Case:
        """Return this case as one that lies in the file ``path``."""
        bound = self.model_copy()
        bound._file = Path(path)
        return bound

    @property
    def file(self) -> Path | None:
        """The file that the case lies in; None where it was made in memory."""
        return self._file

    @property
    def folder(self) -> Path:
        """The folder that the case's paths are relative to."""
        if self._file is None:
            raise CaseError("this case was made in memory and has no folder", field="id", fix="save it first")
        return self._file.parent

    @property
    def preview_path(self) -> Path:
        """The preview image on disk."""
        return self.folder / self.preview.file

    @property
    def lora_path(self) -> Path | None:
        """The LoRA on disk, or None for a case without one."""
        return self.folder / self.lora.file if self.lora is not None else None

    def verify(self, sha256_of: Callable[[Path], str] = sha256_file) -> None:
        """Check that preview and LoRA exist, lie inside the case's folder, and hash to what the case says.

        Args:
            sha256_of: hashes a file; one that remembers spares a LoRA that many cases share.

        Raises:
            CaseError: a file is missing, leads out of the folder by a link, or its SHA-256 differs.
        """
        self._verify("preview", self.preview_path, self.preview.sha256, sha256_of)
        if self.lora is not None and self.lora_path is not None:
            self._verify("lora", self.lora_path, self.lora.sha256, sha256_of)

    def _verify(self, field: str, path: Path, expected: str, sha256_of: Callable[[Path], str]) -> None:
        if not real_path(path).is_relative_to(real_path(self.folder)):
            found, fix = f"{path} leads out of the case's folder by a link", "put the file itself there"
            raise CaseError(found, file=self._file, field=f"{field}.file", fix=fix)
        if not path.is_file():
            found = f"{path} does not exist"
            fix = "import again"
            if field == "lora":
                fix = f"put the file of SHA-256 {expected[:12]}… there, or {fix}"
            raise CaseError(found, file=self._file, field=f"{field}.file", fix=fix)
        if (found := sha256_of(path)) != expected:
            raise CaseError(
                f"{path} hashes to {found[:12]}…, not {expected[:12]}…",
                file=self._file,
                field=f"{field}.sha256",
                fix="the file changed after the import: restore it, or import again",
            )


def _model_in(data: Any) -> str:
    """Return the model that unread data names, as text."""
    return str(data.get("model", DEFAULT_MODEL)) if isinstance(data, dict) else DEFAULT_MODEL


def load_case(path: str | os.PathLike[str]) -> Case:
    """Read one case file.

    Raises:
        CaseError: not readable, not YAML, or not a valid case; names the field.
    """
    path = Path(path)
    if path.is_dir():
        raise CaseError("is a folder", file=path, fix=f"name a *{SUFFIX} in it, which harness import makes")
    if path.is_file() and path.suffix not in {".yaml", ".yml"}:
        raise CaseError("is no case file", file=path, fix=f"name a *{SUFFIX}, which harness import makes")
    data = read_mapping(path, CaseError, fix="see harness schema, or remove it and import again")
    with problems_as(CaseError, Case, file=path):
        case = Case.model_validate(data)
    case._file = path
    return case


def load_cases(paths: Sequence[str | os.PathLike[str]]) -> list[Case]:
    """Read every case file among ``paths``; folders are searched for ``*.case.yaml``.

    Returns:
        The cases, sorted by id.

    Raises:
        CaseError: a file is invalid or has another suffix, a folder holds none, or two files share an id.
    """
    paths = path_list(paths)
    files: dict[Path, None] = {}
    for path in paths:
        found = case_files(path) if path.is_dir() else [path]
        if path.is_file() and not path.name.endswith(SUFFIX):
            raise CaseError(f"is no *{SUFFIX}", file=path, fix="make some with: harness import JOB_DIR")
        if not found:
            raise CaseError(f"holds no *{SUFFIX}", file=path, fix="make some with: harness import JOB_DIR")
        files.update(dict.fromkeys(real_path(file) for file in found))
    by_id: dict[str, Case] = {}
    for file in files:
        case = load_case(file)
        if case.id in by_id:
            raise CaseError(
                f"{case.id!r} is also the id of {by_id[case.id]._file}",
                file=file,
                field="id",
                fix="name only one of the two, or give one another id",
            )
        by_id[case.id] = case
    return [by_id[key] for key in sorted(by_id)]


def case_files(folder: Path) -> list[Path]:
    """Return the case files below ``folder``, sorted; hidden folders are an unfinished import's."""
    found = folder.rglob(f"*{SUFFIX}")
    return sorted(
        file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def save_case(
    case: Case, path: str | os.PathLike[str], *, schema: str | None = None, lasting: bool = True
) -> Case:
    """Write ``case`` to ``path`` atomically and return it bound to that file.

    Args:
        schema: relative path of the JSON Schema to name in the first line, for editors.
        lasting: wait until the disk has it, so that this holds of a power failure as well.
    """
    path = Path(path)
    body = write_yaml(case.model_dump(mode="json", exclude_none=True))
    write_bytes(path, (schema_line(schema) + body).encode("utf-8"), lasting=lasting)
    return case.at(path)


def schema_line(schema: str | None) -> str:
    """Return the first line of a case file, which names its JSON Schema, if there is one."""
    return f"# yaml-language-server: $schema={schema}\n" if schema else ""


def case_schema() -> str:
    """Return the JSON Schema of a case file, as text that ends in a newline."""
    return json.dumps(Case.model_json_schema(), indent=2, ensure_ascii=False) + "\n"

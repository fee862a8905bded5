"""The case file: one preview with its settings, its LoRA and its base.

A case file is YAML, named ``*.case.yaml``. Every path in it is relative to the file's own folder.
Unknown keys are refused; a file that was loaded and saved again says the same thing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

from harness._util.atomic_files import sha256_file, write_bytes
from harness._util.strict_yaml import read_mapping, write_yaml
from harness._util.validation import problems_as
from harness.errors import CaseError
from harness.schema.quantizers import SETTINGS
from harness.schema.spec import DEFAULT_MODEL, MODELS, Defaults, Limits, ModelSpec, known_model, spec_of
from harness.schema.versions import T5Attention

SUFFIX = ".case.yaml"
SCHEMA_FILE = "case.schema.json"


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


def _quantizer(value: str) -> str:
    if value not in SETTINGS:
        raise ValueError("must be none, or a quantizer of docs/quantization.md, e.g. qfloat8 or qfloat8-te")
    return value


CaseId = Annotated[str, Field(pattern=r"^[\w.+ -]+(/[\w.+ -]+)*$", max_length=200), AfterValidator(_safe_id)]
AnyPath = Annotated[str, AfterValidator(_without_nul)]
InnerPath = Annotated[AnyPath, Field(min_length=1), AfterValidator(_inside)]
Noise = Literal["auto", "current", "legacy"]
EncoderDtype = Literal["fp16"]
Quantize = Annotated[
    str, AfterValidator(_quantizer), WithJsonSchema({"enum": list(SETTINGS), "type": "string"})
]
ModelName = Annotated[str, AfterValidator(known_model), Field(json_schema_extra={"enum": [*MODELS]})]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


_DEFAULTS = Defaults()


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and converts nothing silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Base(Strict):
    """The base checkpoint: exactly one of a hub repository, a local folder, or one that ships here."""

    repo: str | None = Field(None, description="Hugging Face repository, e.g. ostris/Flex.2-preview.")
    revision: str | None = Field(
        None, description="Commit of the repository; pin it to make runs comparable."
    )
    path: AnyPath | None = Field(
        None, description="Local folder in the hub's layout; relative to the case file."
    )
    embedded: str | None = Field(None, description="Name of a checkpoint shipped with the harness.")

    @model_validator(mode="after")
    def _one_source(self) -> Base:
        if sum(source is not None for source in (self.repo, self.path, self.embedded)) != 1:
            raise ValueError("give exactly one of repo, path, embedded")
        if self.revision is not None and self.repo is None:
            raise ValueError("revision goes with repo")
        return self

    @classmethod
    def parse(cls, text: str) -> Base:
        """Read the ``--base`` form: ``embedded:NAME``, an existing folder, or ``OWNER/NAME[@REVISION]``.

        Raises:
            CaseError: none of these.
        """
        if match := re.fullmatch(r"embedded:([\w.-]+)", text):
            return cls(embedded=match[1])
        if Path(text).is_dir():
            return cls(path=str(Path(text).resolve()))
        match = re.fullmatch(r"(?P<repo>[\w-][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", text)
        if match is None:
            raise CaseError(
                f"{text!r} is neither a folder nor a repository",
                field="--base",
                fix="give OWNER/NAME or OWNER/NAME@COMMIT, a folder that exists, or embedded:NAME",
            )
        return cls(repo=match["repo"], revision=match["revision"])

    def __str__(self) -> str:
        if self.embedded is not None:
            return f"embedded:{self.embedded}"
        if self.path is not None:
            return self.path
        return f"{self.repo}@{self.revision}" if self.revision else str(self.repo)


class OlderConfig(StrEnum):
    """How it is known that a preview is older than the config that its settings are taken from."""

    TIME = "time"
    COUNT = "count"


class Preview(Strict):
    """The image that AI Toolkit wrote, as it lies on disk."""

    file: InnerPath
    sha256: Sha256
    width: int = Field(gt=0, description="Pixels, read from the image itself.")
    height: int = Field(gt=0, description="Pixels, read from the image itself.")
    step: int | None = Field(None, ge=0, description="Training step at which it was rendered.")
    index: int | None = Field(None, ge=0, description="Position in the job's list of samples.")
    older_config: OlderConfig | None = Field(
        None,
        strict=False,
        description="The config was rewritten after this preview: its settings may have been others. Seen by "
        "file 'time', or proved by the 'count' of a step's previews. No drift is judged.",
    )


class LoraRef(Strict):
    """The LoRA weights that the preview saw."""

    file: InnerPath
    sha256: Sha256
    network_multiplier: float = _DEFAULTS.network_multiplier


class Neighbour(Strict):
    """A saved checkpoint near a preview whose own is gone."""

    step: int = Field(ge=0, description="Training step of the checkpoint; 0 is the base alone.")
    lora: LoraRef | None = None


class SampleSettings(Strict):
    """The sample settings, resolved: trigger replaced, flags applied, seed rule worked out."""

    prompt: str
    neg: str = _DEFAULTS.neg
    width: int = Field(_DEFAULTS.width, description="Pixels, as asked for; the render snaps it.")
    height: int = Field(_DEFAULTS.height, description="Pixels, as asked for; the render snaps it.")
    seed: int = Field(_DEFAULTS.seed, ge=-1, description="-1 is random: such a preview cannot be re-run.")
    sample_steps: int = _DEFAULTS.sample_steps
    guidance_scale: float = _DEFAULTS.guidance_scale

    def outside(self, limits: Limits) -> tuple[str, str] | None:
        """Return the first field outside the reference's limits and what is wrong with it, or None."""
        for name, (low, high) in (
            ("width", limits.size),
            ("height", limits.size),
            ("sample_steps", limits.sample_steps),
            ("guidance_scale", limits.guidance_scale),
            ("seed", limits.seed),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                return name, f"{value} is outside the reference's range {low} to {high}"
        return None


class Trained(Strict):
    """What the job recorded about the training: evidence for why a re-run may differ."""

    arch: str | None = None
    software: str | None = Field(None, description="Name and version that the LoRA's metadata records.")
    dtype: str | None = Field(None, description="train.dtype: the preview was rendered in it.")
    quantize: bool = False
    quantize_te: bool = False
    qtype: str | None = None
    qtype_te: str | None = None
    ema: bool = False
    base: str | None = Field(None, description="model.name_or_path of the job.")
    trigger_word: str | None = None
    prompt_template: str | None = Field(None, description="The prompt as written, before trigger and flags.")
    sampler: str | None = Field(
        None, description="Recorded; AI Toolkit ignores it for flex2 and honours it for flex1."
    )


class Tolerance(Strict):
    """Limits within which a re-run counts as a match, on codec-matched scores."""

    ssim_min: float = Field(ge=-1, le=1)
    lpips_max: float = Field(ge=0)
    psnr_min: float | None = Field(None, description="dB; None sets no limit.")
    flip_max: float | None = Field(None, ge=0, le=1, description="Largest FLIP; None sets no limit.")
    ssimulacra2_min: float | None = Field(None, le=100, description="Least SSIMULACRA2; None sets no limit.")
    jod_min: float | None = Field(None, le=10, description="Least JOD of ColorVideoVDP; None sets no limit.")
    noise_ssim: float | None = Field(
        None, description="The worst SSIM of the case's equally valid re-runs when it was calibrated."
    )
    source: str = Field(description="Where the limits come from, e.g. 'calibrated 2026-11-20 on H100'.")
    provisional: bool = Field(
        False, description="They were measured on another kind of machine, torch or size."
    )


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
    incomparable: str | None = Field(None, description="Why this preview cannot be re-run, if it cannot.")
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

    def at(self, path: Path) -> Case:
        """Return this case as one that lies in the file ``path``."""
        bound = self.model_copy()
        bound._file = path
        return bound

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
        if not path.resolve().is_relative_to(self.folder.resolve()):
            found, fix = f"{path} leads out of the case's folder by a link", "put the file itself there"
            raise CaseError(found, file=self._file, field=f"{field}.file", fix=fix)
        if not path.is_file():
            found = f"{path} does not exist"
            raise CaseError(found, file=self._file, field=f"{field}.file", fix="import again")
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


def load_case(path: Path) -> Case:
    """Read one case file.

    Raises:
        CaseError: not readable, not YAML, or not a valid case; names the field.
    """
    data = read_mapping(path, CaseError, fix="see cases/case.schema.json, or import again")
    with problems_as(CaseError, Case, file=path):
        case = Case.model_validate(data)
    case._file = path
    return case


def load_cases(paths: Sequence[Path]) -> list[Case]:
    """Read every case file among ``paths``; folders are searched for ``*.case.yaml``.

    Returns:
        The cases, sorted by id.

    Raises:
        CaseError: a file is invalid or has another suffix, a folder holds none, or two files share an id.
    """
    files: dict[Path, None] = {}
    for path in paths:
        found = case_files(path) if path.is_dir() else [path]
        if path.is_file() and not path.name.endswith(SUFFIX):
            raise CaseError(f"is no *{SUFFIX}", file=path, fix="make some with: harness import JOB_DIR")
        if not found:
            raise CaseError(f"holds no *{SUFFIX}", file=path, fix="make some with: harness import JOB_DIR")
        files.update(dict.fromkeys(file.resolve() for file in found))
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


def save_case(case: Case, path: Path, *, schema: str | None = None, lasting: bool = True) -> Case:
    """Write ``case`` to ``path`` atomically and return it bound to that file.

    Args:
        schema: relative path of the JSON Schema to name in the first line, for editors.
        lasting: wait until the disk has it, so that this holds of a power failure as well.
    """
    body = write_yaml(case.model_dump(mode="json", exclude_none=True))
    write_bytes(path, (schema_line(schema) + body).encode("utf-8"), lasting=lasting)
    return case.at(path)


def schema_line(schema: str | None) -> str:
    """Return the first line of a case file, which names its JSON Schema, if there is one."""
    return f"# yaml-language-server: $schema={schema}\n" if schema else ""


def case_schema() -> str:
    """Return the JSON Schema of a case file, as text that ends in a newline."""
    return json.dumps(Case.model_json_schema(), indent=2, ensure_ascii=False) + "\n"

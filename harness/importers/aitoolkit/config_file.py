"""Reading a job's config, YAML or JSON, without running anything that is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness._util.atomic_files import read_bytes
from harness._util.strict_yaml import read_yaml_file
from harness._util.validation import first_problem
from harness.errors import JobError
from harness.importers.aitoolkit.config import CACHING_TYPES, ConfigFile, JobConfig
from harness.importers.aitoolkit.trained_model import trained_model
from harness.schema.case import SUFFIX
from harness.schema.spec import MODELS

CONFIG_FILES = ("config.yaml", ".job_config.json")
"""What the trainer writes, and what its web UI does; a folder on a hub has the second alone."""

PROCESS = "config.process[0]"
PROCESS_TYPES = (
    *CACHING_TYPES,
    *("concept_replacer", "image_reference_slider_trainer", "ultimate_slider_trainer"),
    *("slider", "slider_old", "rescale_sd"),
)
"""Process types that save and sample as ``BaseSDTrainProcess`` does."""

_TAG = "tag:yaml.org,2002:python/object/apply:collections.OrderedDict"


class _JobLoader(yaml.SafeLoader):
    """A safe loader that also knows the one Python tag that AI Toolkit writes."""


def _ordered_dict(loader: _JobLoader, node: yaml.Node) -> dict[Any, Any]:
    try:
        arguments = loader.construct_sequence(node, deep=True)  # type: ignore[arg-type]
        return dict(*arguments)
    except (TypeError, ValueError) as error:
        raise yaml.constructor.ConstructorError(None, None, "broken OrderedDict", node.start_mark) from error


_JobLoader.add_constructor(_TAG, _ordered_dict)
_JobLoader.add_implicit_resolver(  # the trainer reads 4e-1 as a number, PyYAML as text
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def find_config(job_dir: Path) -> Path:
    """Return the config of a job folder.

    Raises:
        JobError: not a folder, or without a config.
    """
    if not job_dir.is_dir():
        around = [folder for folder in [*job_dir.parents][:2] if _is_job(folder)] if job_dir.is_file() else []
        which = around[0] if around else "that AI Toolkit wrote"
        raise JobError("is not a folder", file=job_dir, fix=f"give the job folder {which}")
    for name in CONFIG_FILES:
        if (job_dir / name).is_file():
            return job_dir / name
    raise JobError(f"holds neither {' nor '.join(CONFIG_FILES)}", file=job_dir, fix=_way_to_config(job_dir))


def _is_job(folder: Path) -> bool:
    return any((folder / name).is_file() for name in CONFIG_FILES)


_OTHER_FOLDERS = {
    f"*{SUFFIX}": "it holds cases, which an import made: harness run {folder}",
    "run.json": "it holds a run: harness report {folder}",
    "model_index.json": "it holds a base model; give the job folder (training_folder/<job name>)",
}
"""What a folder is that holds such a file, and what to do with it."""


def _way_to_config(folder: Path) -> str:
    """Return what to do about a folder without a config, by what lies around it and in it."""
    if _is_job(folder.parent):
        return f"give the job folder {folder.parent}, or name its config with --config FILE"
    for pattern, what in _OTHER_FOLDERS.items():
        if next(folder.glob(pattern), None) is not None:
            return what.format(folder=folder)
    ends, shown = ("yaml", "yml", "json"), folder.glob("[!.]*.*")
    others = [path for path in shown if path.suffix.removeprefix(".") in ends and path.is_file()]
    if others:
        return f"is it {min(others).name}? name it with --config"
    if jobs := sorted(path.parent for name in CONFIG_FILES for path in folder.glob(f"*/{name}")):
        return f"give one of the job folders in it, such as {jobs[0]}"
    return "give the job folder (training_folder/<job name>), or name its config with --config FILE"


def load_config(path: Path) -> JobConfig:
    """Read the config of a training job, YAML or JSON.

    Raises:
        JobError: missing, not YAML or JSON, with a Python tag other than OrderedDict, or of a model that is
            not known here.
    """
    data = _read(path)
    _check_kind(path, data)
    try:
        return ConfigFile.model_validate(_named(data, data["config"].get("name"))).config
    except ValidationError as error:
        raise _problem(path, error) from error
    except RecursionError as error:
        raise JobError("is nested too deep", file=path) from error


def _named(value: Any, name: Any) -> Any:
    """Replace ``[name]`` by the job's name in every text, as the trainer does before it reads anything."""
    if isinstance(value, dict):
        return {key: _named(each, name) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each, name) for each in value]
    return value.replace("[name]", name) if isinstance(value, str) and isinstance(name, str) else value


def _problem(path: Path, error: ValidationError) -> JobError:
    """Name the field as the file does."""
    field, found, fix = first_problem(error, ConfigFile)
    field = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field) if field else None
    return JobError(found, file=path, field=field, fix=fix)


def _read(path: Path) -> Any:
    try:
        if path.suffix.startswith(".json"):
            return json.loads(read_bytes(path).decode("utf-8-sig"))
        return read_yaml_file(path, _JobLoader)
    except OSError as error:
        raise JobError(f"cannot be read ({error.strerror or error})", file=path) from error
    except (ValueError, RecursionError) as error:
        raise JobError(f"is not valid JSON ({error})", file=path) from error
    except yaml.constructor.ConstructorError as error:
        found = f"holds YAML that is not plain data ({error.problem}{_line(error)})"
        fix = "only the tag of collections.OrderedDict is accepted; no other Python tag is ever loaded"
        raise JobError(found, file=path, fix=fix) from error
    except yaml.YAMLError as error:
        found = f"is not valid YAML ({getattr(error, 'problem', error)}{_line(error)})"
        raise JobError(found, file=path) from error


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _check_kind(path: Path, data: Any) -> None:
    """Refuse another kind of job by its type and arch, before its fields are checked."""
    try:
        process = data["config"]["process"][0]
        kind, model = process["type"], process["model"]
        arch = model.get("arch")
        known = trained_model(
            arch, is_flux=bool(model.get("is_flux")), name_or_path=model.get("name_or_path")
        )
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        found, fix = f"has no {PROCESS} with a type and a model", "is this an AI Toolkit training job?"
        raise JobError(found, file=path, fix=fix) from error
    if kind not in PROCESS_TYPES:
        found, fix = f"{kind!r} is not a training process", f"the importer reads {', '.join(PROCESS_TYPES)}"
        raise JobError(found, file=path, field=f"{PROCESS}.type", fix=fix)
    if known is None:
        found = f"{arch!r} is not {' or '.join(MODELS)}"
        fix = f"only {' and '.join(spec.label for spec in MODELS.values())} jobs can be re-run"
        raise JobError(found, file=path, field=f"{PROCESS}.model.arch", fix=fix)

"""Reading a job folder's ``config.yaml`` without running anything that is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness._util.strict_yaml import read_yaml_file
from harness._util.validation import first_problem
from harness.errors import JobError
from harness.importers.aitoolkit.config import ConfigFile, JobConfig

CONFIG_FILE = "config.yaml"
PROCESS = "config.process[0]"
PROCESS_TYPES = ("sd_trainer", "ui_trainer", "diffusion_trainer")
ARCH = "flex2"

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


def load_config(job_dir: Path) -> JobConfig:
    """Read ``config.yaml`` of a Flex.2 training job.

    Raises:
        JobError: missing, not YAML, with a Python tag other than OrderedDict, or not a Flex.2 training job.
    """
    path = job_dir / CONFIG_FILE
    data = _read(path)
    _check_kind(path, data)
    try:
        return ConfigFile.model_validate(data).config
    except ValidationError as error:
        raise _problem(path, error) from error


def _problem(path: Path, error: ValidationError) -> JobError:
    """Name the field as the file does, without the names of our classes."""
    field, found, fix = first_problem(error, ConfigFile)
    field = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field) if field else None
    found = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", found)
    return JobError(found, file=path, field=field, fix=fix)


def _read(path: Path) -> Any:
    if not path.parent.is_dir():
        raise JobError("is not a folder", file=path.parent, fix="give the job folder that AI Toolkit wrote")
    try:
        return read_yaml_file(path, _JobLoader)
    except FileNotFoundError as error:
        fix = "give the job folder: training_folder/<job name>"
        raise JobError(f"holds no {CONFIG_FILE}", file=path.parent, fix=fix) from error
    except OSError as error:
        raise JobError(f"cannot be read ({error.strerror or error})", file=path) from error
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
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        found, fix = f"has no {PROCESS} with a type and a model", "is this an AI Toolkit training job?"
        raise JobError(found, file=path, fix=fix) from error
    if kind not in PROCESS_TYPES:
        found, fix = f"{kind!r} is not a training process", f"the importer reads {', '.join(PROCESS_TYPES)}"
        raise JobError(found, file=path, field=f"{PROCESS}.type", fix=fix)
    if not isinstance(arch, str) or arch.split(":")[0] != ARCH:
        found, fix = f"{arch!r} is not {ARCH}", "only Flex.2 jobs can be re-run"
        raise JobError(found, file=path, field=f"{PROCESS}.model.arch", fix=fix)

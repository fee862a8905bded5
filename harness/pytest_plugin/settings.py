"""What applies to a session: command line, then pytest's ini options, then defaults."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import pytest

from harness._util.output_paths import why_unwritable
from harness._util.words import is_utf_8
from harness.errors import HarnessError
from harness.judging.tolerance import limits_from
from harness.pytest_plugin.options import INI
from harness.runs.plan import RunOptions
from harness.schema.base import Base
from harness.schema.metric_limits import metrics_from
from harness.schema.render import PipelineCode
from harness.sweeps.grid import Variant, preset

Value = TypeVar("Value")


@dataclass(frozen=True)
class Settings:
    """Everything the session needs to know, resolved.

    Attributes:
        results: the run folder that was asked for; None asks for a new one under ``runs``.
        pipeline: what cases are rendered by that name none.
    """

    results: Path | None
    runs: Path
    baselines: Path
    cases: Path
    pipeline: PipelineCode | None
    run: RunOptions
    update: bool
    new_only: bool
    reason: str
    report: bool
    unused: Literal["warn", "fail"]
    sweep: list[Variant]
    neighbours: bool


def read_settings(config: pytest.Config) -> Settings:
    """Return the session's settings.

    Raises:
        pytest.UsageError: an option says something impossible.
    """
    option, root = config.option, config.rootpath
    ini = {name: config.getini(name) for name, *_ in INI}
    try:
        _refuse_bytes(option)
        _refuse_old_table(root / "pyproject.toml")
        baselines = _here(option.harness_baselines) or root / ini["harness_baselines"]
        refuse_no_folder(baselines, fix="name another with --harness-baselines")
        update = option.harness_update_baselines or option.harness_update_baselines_new_only
        if update and (why := why_unwritable(baselines, folder=True)) is not None:
            fix = "name another with --harness-baselines"
            raise HarnessError(f"cannot be written ({why})", file=baselines, fix=fix)
        return Settings(
            results=_here(option.harness_results),
            runs=root / ini["harness_results"],
            baselines=baselines,
            cases=root / ini["harness_cases"],
            pipeline=_pipeline(ini["harness_pipeline"]),
            run=_run_options(option, ini, root),
            update=update,
            new_only=option.harness_update_baselines_new_only and not option.harness_update_baselines,
            reason=option.harness_reason or _default_reason(option),
            report=option.harness_report,
            unused=option.harness_unused_baselines,
            neighbours=option.harness_neighbours,
            sweep=_named("--harness-sweep", preset, option.harness_sweep) or [],
        )
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def _run_options(option: argparse.Namespace, ini: dict[str, Any], root: Path) -> RunOptions:
    metrics = option.harness_metrics
    return RunOptions(
        device="cuda" if option.gpu else "cpu",
        pipeline=option.harness_pipeline,
        base=_named("--harness-base", Base.parse, option.harness_base),
        dtype=option.harness_dtype,
        engine=option.harness_engine,
        server=option.harness_server,
        server_root=_here(option.harness_server_root),
        server_header=tuple(option.harness_server_header or ()),
        comfy=option.harness_comfy,
        comfy_file=tuple(option.harness_comfy_file or ()),
        against_reference=option.harness_against_reference,
        score_workers=option.harness_score_workers,
        keep_latents=option.harness_latents,
        metrics=metrics_from(metrics, "--harness-metrics") if metrics else (),
        trust_remote_code=option.harness_trust_remote_code or ini["harness_trust_remote_code"],
        tolerance=limits_from(option.harness_tolerance, Path.cwd(), "--harness-tolerance"),
        project_tolerance=limits_from(ini["harness_tolerance"] or None, root, "harness_tolerance"),
    )


def _refuse_bytes(option: argparse.Namespace) -> None:
    """Refuse text that is no UTF-8: rows and baselines could not hold it."""
    for name, text in vars(option).items():
        if name.startswith("harness_") and isinstance(text, str) and not is_utf_8(text):
            field = f"--{name.replace('_', '-')}"
            raise HarnessError(f"{text!r} is no UTF-8", field=field, fix="write it in UTF-8")


def _refuse_old_table(path: Path) -> None:
    """Refuse the table that older versions read: what it says would be ignored without a word."""
    table = {}
    with suppress(OSError, ValueError):
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    if "harness" in table:
        fix = "write its keys as harness_results, harness_baselines ... in [tool.pytest.ini_options]"
        raise HarnessError("is not read any more", file=path, field="tool.harness", fix=fix)


def _pipeline(name: str) -> PipelineCode | None:
    choices = get_args(PipelineCode)
    if name and name not in choices:
        raise HarnessError(f"found {name!r}", field="harness_pipeline", fix=f"give {' or '.join(choices)}")
    return name or None  # type: ignore[return-value]


def _named(option: str, read: Callable[[str], Value], text: str | None) -> Value | None:
    """Return what an option says, None where it is not given; errors call it by the name it has here."""
    try:
        return read(text) if text else None
    except HarnessError as error:
        error.field = option
        raise
    except OSError as error:
        raise HarnessError(f"{text!r} cannot be read ({error.strerror})", field=option) from error


def refuse_no_folder(path: Path, *, fix: str) -> None:
    """Refuse a path where no folder is and none can be made.

    Raises:
        HarnessError: a file, a path below one, a link that leads nowhere, or a name that the system refuses.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except OSError as error:
        raise HarnessError(f"cannot be used ({error.strerror})", file=path, fix=fix) from error
    if not next(each for each in (path, *path.parents) if os.path.lexists(each)).is_dir():
        raise HarnessError("is no folder", file=path, fix=fix)


def _here(path: str | None) -> Path | None:
    return Path(path).absolute() if path else None


def _default_reason(option: argparse.Namespace) -> str:
    new_only = option.harness_update_baselines_new_only
    return f"pytest --harness-update-baselines{'-new-only' if new_only else ''}"

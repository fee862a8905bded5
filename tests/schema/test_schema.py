"""The published JSON Schema of case files, checked by the checkers a user's editor would use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from harness.importers.aitoolkit import import_job
from harness.importers.aitoolkit.job_folder import find_previews
from harness.schema.case import SCHEMA_FILE, SUFFIX, Case, case_schema

PUBLISHED = Path(__file__).parents[2] / "cases" / SCHEMA_FILE


def test_the_published_schema_is_current() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == case_schema(), (
        "run: harness schema > cases/case.schema.json"
    )


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The schema as an editor applies it."""
    published = json.loads(case_schema())
    Draft202012Validator.check_schema(published)
    return Draft202012Validator(published)


@pytest.fixture(scope="module")
def saved(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every case of the genuine jobs, as the text on disk says."""
    out = tmp_path_factory.mktemp("cases")
    for name, job in jobs.items():
        import_job(job, out=out / name)
    return [yaml.safe_load(path.read_text()) for path in sorted(out.rglob(f"*{SUFFIX}"))]


def test_every_saved_case_obeys_the_schema(
    saved: list[dict[str, Any]], schema: Draft202012Validator, jobs: dict[str, Path]
) -> None:
    assert len(saved) == sum(len(find_previews(job)) for job in jobs.values())
    for case in saved:
        assert [error.message for error in schema.iter_errors(case)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("id",), "../x y*"),
        (("model",), "flux"),
        (("settings", "widht"), 64),
        (("settings", "width"), "64"),
        (("preview", "sha256"), "abc"),
        (("preview", "width"), 0),
        (("pipeline",), "other"),
        (("trained", "quantize"), 1),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(
    saved: list[dict[str, Any]], schema: Draft202012Validator, path: tuple[str, ...], value: object
) -> None:
    case = json.loads(json.dumps(saved[0]))
    place = case
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert not schema.is_valid(case)
    with pytest.raises(ValidationError):
        Case.model_validate(case)


def test_the_first_line_names_the_schema_where_there_is_one(jobs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / SCHEMA_FILE).write_text(case_schema())
    case = import_job(jobs["simple"], out=tmp_path / "mine", steps="0").cases[0]
    first = (case.folder / f"{case.id.rpartition('/')[2]}{SUFFIX}").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../{SCHEMA_FILE}"

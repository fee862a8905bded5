"""The published JSON Schema of case files, checked by the checkers a user's editor would use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.aitoolkit import import_job
from harness.case import SCHEMA_FILE, SUFFIX, case_schema

PUBLISHED = Path(__file__).parent.parent / "cases" / SCHEMA_FILE


def test_the_published_schema_is_current() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == case_schema(), (
        "run: harness schema > cases/case.schema.json"
    )


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool,
    "null": type(None), "object": dict, "array": list,
}  # fmt: skip


def problems(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> list[str]:
    """Return what is wrong with ``value`` by the keywords of JSON Schema that case files use."""
    schema = resolve(schema, root)
    if "anyOf" in schema:
        found = [problems(value, option, root, where) for option in schema["anyOf"]]
        return [] if [] in found else min(found, key=len)
    expected = schema.get("type")
    wrong_bool = isinstance(value, bool) and expected != "boolean"
    if expected and (wrong_bool or not isinstance(value, TYPES[expected])):
        return [f"{where}: {value!r} is not {expected}"]
    found_here = [f"{where}: {message}" for message in _limits(value, schema)]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found_here += [f"{where}.{key} is missing" for key in schema.get("required", []) if key not in value]
        if schema.get("additionalProperties") is False:
            found_here += [f"{where}.{key} is unknown" for key in value if key not in known]
        for key in value.keys() & known.keys():
            found_here += problems(value[key], known[key], root, f"{where}.{key}")
    if isinstance(value, list):
        for item in value:
            found_here += problems(item, schema["items"], root, where)
    return found_here


def _limits(value: Any, schema: dict[str, Any]) -> list[str]:
    broken = {
        "const": lambda limit: value != limit,
        "enum": lambda limit: value not in limit,
        "pattern": lambda limit: not re.search(limit, value),
        "minLength": lambda limit: len(value) < limit,
        "maxLength": lambda limit: len(value) > limit,
        "minimum": lambda limit: value < limit,
        "maximum": lambda limit: value > limit,
        "exclusiveMinimum": lambda limit: value <= limit,
    }
    return [
        f"{value!r} breaks {key} {schema[key]!r}"
        for key, test in broken.items()
        if key in schema and test(schema[key])
    ]


@pytest.fixture(scope="module")
def saved(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every case of the genuine jobs, as the text on disk says."""
    out = tmp_path_factory.mktemp("cases")
    for name, job in jobs.items():
        import_job(job, out=out / name)
    return [yaml.safe_load(path.read_text()) for path in sorted(out.rglob(f"*{SUFFIX}"))]


def test_every_saved_case_obeys_the_schema(saved: list[dict[str, Any]]) -> None:
    schema = json.loads(case_schema())
    assert len(saved) == 40
    for case in saved:
        assert problems(case, schema, schema) == []


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
    saved: list[dict[str, Any]], path: tuple[str, ...], value: object
) -> None:
    schema = json.loads(case_schema())
    case = json.loads(json.dumps(saved[0]))
    place = case
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert problems(case, schema, schema)


def test_the_first_line_names_the_schema_where_there_is_one(jobs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / SCHEMA_FILE).write_text(case_schema())
    case = import_job(jobs["simple"], out=tmp_path / "mine", steps="0").cases[0]
    first = (case.folder / f"{case.id.rpartition('/')[2]}{SUFFIX}").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../{SCHEMA_FILE}"

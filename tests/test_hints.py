"""What a user reads names no file that only the repository has: who installed a wheel has none of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATH = re.compile(r"(?<!> )(?<![\w/<.-])(?:[\w.-]+/)+[\w.-]+\.(?:md|py|json|ya?ml|txt|sh)(?![\w/])")
SOURCES = {"harness/precision/drift.py"}
"""They say where a number comes from, and not what to look up."""


def shown(module: str, *, is_command: bool) -> Iterator[str]:
    """Yield the texts of a module: all but docstrings, and the docstring of a command, which is its help."""
    tree = ast.parse(module)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value
        if is_command and isinstance(node, ast.FunctionDef) and node.decorator_list:
            yield ast.get_docstring(node) or ""


def files_of_the_repository(texts: Iterator[str]) -> list[str]:
    named = sorted({name for text in texts for name in PATH.findall(text)})
    return [name for name in named if (ROOT / name).is_file() and not name.startswith("harness/")]


def test_no_hint_names_a_file_of_the_repository() -> None:
    found = {}
    for file in (ROOT / "harness").rglob("*.py"):
        texts = shown(file.read_text(), is_command=file.parent.name == "cli")
        if names := files_of_the_repository(texts):
            found[file.relative_to(ROOT).as_posix()] = names
    assert {file: names for file, names in found.items() if file not in SOURCES} == {}


def test_such_a_hint_is_found() -> None:
    module = (
        '"""docs/speed.md"""\n@c\ndef f():\n    """docs/pytest.md"""\n    g(fix="see cases/case.schema.json")'
    )
    for is_command, names in (
        (True, ["cases/case.schema.json", "docs/pytest.md"]),
        (False, ["cases/case.schema.json"]),
    ):
        assert files_of_the_repository(shown(module, is_command=is_command)) == names

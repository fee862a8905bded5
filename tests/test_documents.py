"""What documents say about the tree: every file that they name is there, and every room is listed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")]
PATH = re.compile(r"(?<![\w/<.])((?:\.?[\w-]+/)+[\w-]+\.(?:py|pyi|md|txt|sh|yml|html|svg|png))(?![\w/])")
MADE_LATER = re.compile(r"^(cases|reports|baselines|samples|previews|src)/")
"""Folders whose files users make, and files of other projects."""


def missing(document: Path) -> list[str]:
    """Return the named files that are neither beside the document nor in the root nor in harness/."""
    named = set(PATH.findall(re.sub(r"https?://\S+", "", document.read_text())))
    places = (document.parent, ROOT, ROOT / "harness")
    return sorted(
        name
        for name in named
        if not MADE_LATER.match(name) and not any((place / name).exists() for place in places)
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_a_document_names_are_there(document: Path) -> None:
    assert missing(document) == []


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("see `runs/no_such_file.py` and `runs/plan.py`")
    assert missing(tmp_path / "a.md") == ["runs/no_such_file.py"]


SYMBOL = re.compile(r"`((?:[\w-]+/)*[\w-]+\.pyi?): (\w+)`")


def test_names_that_contributing_gives_are_in_their_files() -> None:
    named = SYMBOL.findall((ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 12
    wrong = []
    for file, symbol in named:
        path = next(place / file for place in (ROOT / "harness", ROOT) if (place / file).exists())
        if not re.search(rf"^\s*(?:def |class |)({symbol})\b", path.read_text(), re.MULTILINE):
            wrong.append((file, symbol))
    assert wrong == []


def test_no_two_files_have_one_name() -> None:
    files = [path for path in (ROOT / "harness").rglob("*.py") if path.parent.name != "cli"]
    names = Counter(path.name for path in files if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_contributing_lists_every_room() -> None:
    listed = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = [path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")]
    modules = [path.name for path in (ROOT / "harness").glob("*.py") if not path.name.startswith("__")]
    assert [name for name in (*(f"{room}/" for room in rooms), *modules) if f"  {name} " not in listed] == []


LINK = re.compile(r"\]\(([\w./-]*)#([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """Return what links lead to in a document, as GitHub names its headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_to_headings_lead_to_headings(document: Path) -> None:
    found = [
        f"{file}#{anchor}"
        for file, anchor in LINK.findall(re.sub(r"https?://\S+", "", document.read_text()))
        if anchor not in anchors(document.parent / file if file else document)
    ]
    assert found == []

"""Baselines whose case is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness._util.real_paths import real_path
from harness.errors import CaseError
from harness.judging.baseline_store import BaselineStore
from harness.pytest_plugin.items import CaseItem
from harness.schema.case import case_files, load_case


def unused_baselines(
    store: BaselineStore, cases: Path, arguments: Sequence[str], items: Sequence[CaseItem]
) -> list[str]:
    """Return the ids that have a baseline and no case; single files as arguments say nothing about others.

    A case that exists may not have been collected (``--ignore``, ``--lf``, ``-x``, part of the folders), so
    other files are read too. One that cannot be read may be any case: nothing is reported then.

    Args:
        cases: the project's folder of cases.
        arguments: files and folders that pytest was asked to collect.
        items: what it collected, before anything was deselected.
    """
    cases, folders = real_path(cases), [real_path(each.partition("::")[0]) for each in arguments]
    if not all(folder.is_dir() for folder in folders):
        return []
    everything = any(cases.is_relative_to(folder) for folder in folders)
    found = store.orphans([item.name for item in items], everything=everything)
    if not found:
        return []
    collected = {item.path for item in items}
    files = {file for folder in (*folders, cases) for file in case_files(folder)} - collected
    try:
        others = {load_case(file).id for file in files}
    except CaseError:
        return []
    return [name for name in found if name not in others]

"""What often lies where a large file should: nothing, a pointer to it, or a page about it."""

from __future__ import annotations

from pathlib import Path

MAX_HEAD = 512
"""Bytes at the start of a file that tell."""


def what_came_instead(head: bytes) -> tuple[str, str] | None:
    """Return what a file is and what to do about it, from its first ``MAX_HEAD`` bytes or all of them."""
    if not head:
        return "is empty", "copy it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, and the file itself is not here", "fetch it: git lfs pull"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page", "download the file itself"
    return None


def why_no_file(path: Path) -> str:
    """Return what lies at ``path``, where no file can be read."""
    if path.is_dir():
        return "is a folder"
    return "is no regular file" if path.exists() else "does not exist"

"""Untrusted YAML: plain data only, within limits; every string that is written is read back unchanged.

The limits on nesting and on the number of values are checked before anything is built, because aliases
multiply ("billion laughs": ten lines that expand to gigabytes).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from harness._util.atomic_files import disk_errors_as, read_bytes

MAX_BYTES = 4 << 20
"""Largest YAML file that is read."""

MAX_DEPTH = 50
"""Levels of nested mappings and lists."""

MAX_VALUES = 200_000
"""Values of one file, where an alias counts as all the values that it repeats."""

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _unique_keys(loader: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = _value(loader, key_node)
        if key in mapping:
            raise yaml.MarkedYAMLError(problem=f"key {key!r} appears twice", problem_mark=key_node.start_mark)
        mapping[key] = _value(loader, value_node)
    return mapping


def _value(loader: Any, node: yaml.Node) -> Any:
    """Return a node's value; plain text, which most nodes are, without PyYAML's detours."""
    if node.tag == _TEXT and isinstance(node, yaml.ScalarNode):
        return node.value
    return loader.construct_object(node, deep=True)


_TEXT = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG


class _CaseLoader(_Safe):  # type: ignore[misc]
    """Refuses a key that appears twice, and caches the tags of short texts, since case files are alike."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: tuple[bool, bool]) -> str:
        """Return the tag of a node that names none; see PyYAML's ``BaseResolver.resolve``."""
        known = value is None or len(value) <= _SHORT
        tag: str = (_tag_of_short if known else _tag)(kind, value, implicit)
        return tag

    def descend_resolver(self, _parent: object, _index: object) -> None:
        """Do nothing: no tag depends on the place of a value."""

    def ascend_resolver(self) -> None:
        """Do nothing; see ``descend_resolver``."""


_SHORT = 64
_tag: Any = yaml.resolver.Resolver().resolve
_tag_of_short: Any = lru_cache(1 << 12)(_tag)
_CaseLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_keys)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML folds into a space or a line break, so that every string comes back as it was."""


class _FastDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The same in C, which writes the same text but for characters beyond U+FFFF: it escapes them."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.search("[\r\x85\u2028\u2029\ufeff]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)
_FastDumper.add_representer(str, _quoted)


def read_yaml_file(path: Path, loader: Any = _CaseLoader) -> Any:
    """Return the content of a YAML file; see ``read_yaml``.

    Raises:
        OSError: as ``harness._util.atomic_files.read_bytes``.
        yaml.YAMLError: as ``read_yaml``; also where it is not UTF-8.
    """
    try:
        return read_yaml(read_bytes(path, MAX_BYTES).decode("utf-8"), loader)
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"not UTF-8 text: {error}; save it as UTF-8") from error


def read_mapping(path: Path, error: Callable[..., Exception], *, fix: str) -> dict[Any, Any]:
    """Return the mapping that a YAML file holds.

    Args:
        error: makes the exception, from what was found and ``file`` and ``fix``.
        fix: what to do about a file that holds no mapping.
    """
    try:
        with disk_errors_as(error, "cannot be read", file=path):
            data = read_yaml_file(path)
    except yaml.YAMLError as problem:
        raise error(f"is not valid YAML ({problem})", file=path) from problem
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds {type(data).__name__}, not a mapping"
        raise error(found, file=path, fix=fix)
    return data


def read_yaml(text: str, loader: Any = _CaseLoader) -> Any:
    """Return the content of YAML ``text``.

    Args:
        loader: a safe loader; the default refuses a key that appears twice.

    Raises:
        yaml.YAMLError: not YAML, not plain data, a key that appears twice, or beyond a limit.
    """
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f"larger than {MAX_BYTES >> 20} MiB")
    try:
        if len(text) > _SMALL or "&" in text or loader is not _CaseLoader:
            _check_limits(text)
        return yaml.load(text, Loader=loader)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # PyYAML raises these where a value does not fit its tag: a date 2026-99-99, a list as a key
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error


_SMALL = 1 << 12
"""Characters up to which a case file without anchors is within the limits of nesting and values."""


def _check_limits(text: str) -> None:
    open_since: list[tuple[str | None, int]] = []
    sizes: dict[str, int] = {}
    values = 0
    for event in yaml.parse(text, Loader=_Safe):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"alias *{event.anchor} is inside what it names, or names nothing")
            values += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_since.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_since.pop()
            if anchor:
                sizes[anchor] = values - before
        if len(open_since) > MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} deep")
        if values > MAX_VALUES:
            raise yaml.YAMLError(f"holds more than {MAX_VALUES} values")


def write_yaml(data: Any) -> str:
    """Return ``data`` as YAML, keys in their own order."""
    text = _dump(data, _FastDumper)
    return _dump(data, _Dumper) if "\\U" in text else text


def _dump(data: Any, dumper: Any) -> str:
    return str(yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True, width=110))

"""YAML that says one thing: duplicate keys are refused, and every string comes back as it was."""

from __future__ import annotations

import re
from typing import Any

import yaml


def _unique_keys(loader: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _strict(base: Any) -> Any:
    loader: Any = type("CaseLoader", (base,), {})
    loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_keys)
    return loader


# libyaml is quick, and overflows the stack on nesting that takes more bytes than a case file has; the slower
# loader raises there.
_QUICK_BYTES = 1 << 14
_QUICK_LOADER = _strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_DEEP_LOADER = _strict(yaml.SafeLoader)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML folds into a space or a line break, so that every string comes back as it was."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.search("[\r\x85\u2028\u2029\ufeff]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def read_yaml(text: str) -> Any:
    """Return what ``text`` holds.

    Raises:
        yaml.YAMLError, RecursionError, TypeError: not YAML, a key that stands twice, or nested too deeply.
    """
    return yaml.load(text, Loader=_QUICK_LOADER if len(text) <= _QUICK_BYTES else _DEEP_LOADER)


def write_yaml(data: Any) -> str:
    """Return ``data`` as YAML, keys in their own order."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))

"""The text of many case files, where what they have in common is written and read back once."""

from __future__ import annotations

from typing import Any

import yaml

from harness._util.strict_yaml import MAX_BYTES, read_yaml, write_yaml
from harness.schema.case import Case

_OWN = {"id", "preview"}
"""Keys whose values no two cases share."""

_KEPT = 512
"""Parts that are kept at most: the previews of the next step have those of this one again."""


class CaseTexts:
    """Writes case files as ``save_case`` does, key by key, and reads each key back."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[str, Any]] = {}

    def of(self, case: Case) -> bytes | None:
        """Return the YAML of ``case`` as UTF-8, or None where it would not be read back as the same case."""
        try:
            parts = [self._part(*item) for item in case.model_dump(mode="json", exclude_none=True).items()]
            found = {key: value for _, part in parts for key, value in part.items()}
            text = "".join(text for text, _ in parts).encode("utf-8")
            same = Case.model_validate(found).model_dump() == case.model_dump()
        except (yaml.YAMLError, ValueError):
            return None
        return text if same and len(text) <= MAX_BYTES else None

    def _part(self, key: str, value: Any) -> tuple[str, Any]:
        """Return one key with its value as YAML, and what reading that back gives."""
        name = repr((key, value))
        if (part := self._parts.get(name)) is None:
            text = write_yaml({key: value})
            part = text, read_yaml(text)
            if key not in _OWN:
                if len(self._parts) == _KEPT:
                    self._parts.clear()
                self._parts[name] = part
        return part

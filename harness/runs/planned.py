"""One planned render: a case, the request that re-renders it, and the hash of what its row depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from harness.schema.case import Case
from harness.schema.render import REFERENCE_DIALECT, REFERENCE_SHIFT, RenderRequest
from harness.schema.result import REFERENCE


@dataclass(frozen=True)
class Planned:
    """One case and the request that re-renders it; a ``problem`` instead where it cannot be re-run.

    Attributes:
        same_as: another variant of the case that renders the very same image; ``same_why`` says why.
        free_t5: the case does not say T5's kernel, and a preview of its job may prove another.
    """

    case: Case
    request: RenderRequest | None
    variant: str = REFERENCE
    problem: str | None = None
    same_as: str | None = None
    same_why: str = ""
    free_t5: bool = False

    @property
    def key(self) -> str:
        """Hash of what the row will depend on: the request (weights by hash, not by path) and the preview."""
        facts = {
            "request": facts_of(self.request) if self.request is not None else {},
            "preview": self.case.preview.sha256,
            "incomparable": self.problem,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(RenderRequest)} | {
    "shift": dataclasses.asdict(REFERENCE_SHIFT),
    "dialect": dataclasses.asdict(REFERENCE_DIALECT),
}


def facts_of(request: RenderRequest) -> dict[str, Any]:
    """Return a request's fields for hashing, those that only variants change where they are changed."""
    fields = dataclasses.asdict(request) | {"base": str(request.base)}
    if fields["lora"] is not None:
        fields["lora"].pop("file")
    return {name: value for name, value in fields.items() if value != _DEFAULTS[name]}

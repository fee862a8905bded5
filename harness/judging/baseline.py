"""The baseline file: what somebody accepted of a case, for every kind of machine.

A case may have several valid results on one kind of machine, where a kernel is chosen by free memory for
instance; each of them can be accepted. The key of a machine names the hardware alone. Library versions,
thread counts and attention kernels are not in it: a nightly run watches them, so a change in them is compared
with what was accepted before it, and named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_serializer, field_validator

from harness.metrics.scores import Record, Scores
from harness.schema.fields import InnerPath
from harness.schema.result import Row, Verdict

SCORE_DIGITS = 6

MAX_ACCEPTED = 4
"""Results of one case that may be accepted on one kind of machine."""


class Entry(Record):
    """What was accepted on one kind of machine."""

    verdict: Verdict
    image_sha256: str | None = Field(
        description="Hash of the re-run's size and pixels; None if not rendered."
    )
    latents_sha256: str | None = Field(None, description="Hash of the latents before they were decoded.")
    latents: InnerPath | None = Field(None, description="File of those latents, beside this one's root.")
    scores: Scores | None = Field(description="Codec-matched scores against the preview.")
    settings: dict[str, Any] = Field(description="The case's settings when it was accepted.")
    preview_sha256: str
    lora_sha256: str | None
    rendered: dict[str, Any] = Field(description="The settings as rendered; sigmas by hash.")
    environment: dict[str, Any]
    accepted: str = Field(description="When, ISO 8601.")
    accepted_by: str
    reason: str


class BaselineFile(Record):
    """All accepted entries of one case, by environment key; a single one is written without a list."""

    case: str
    entries: dict[str, Annotated[list[Entry], Field(min_length=1, max_length=MAX_ACCEPTED)]]

    @field_validator("entries", mode="before")
    @classmethod
    def _as_lists(cls, entries: Any) -> Any:
        if not isinstance(entries, dict):
            return entries
        return {key: found if isinstance(found, list) else [found] for key, found in entries.items()}

    @field_serializer("entries")
    def _as_written(self, entries: dict[str, list[Entry]]) -> dict[str, Any]:
        plain = {key: [entry.model_dump(mode="json") for entry in found] for key, found in entries.items()}
        return {key: found[0] if len(found) == 1 else found for key, found in plain.items()}


def environment_key(environment: Mapping[str, Any]) -> str:
    """Return the key of an environment's hardware, such as ``cuda-nvidia-h100-80gb-hbm3``."""
    gpu, server = environment.get("gpu"), environment.get("server")
    if isinstance(server, dict):
        name = f"server {server.get('host', '')}"
    elif isinstance(gpu, dict):
        name = f"cuda {gpu.get('name', '')}"
    else:
        facts = (environment.get(name, "") for name in ("platform", "cpu", "cpu_bf16"))
        name = f"cpu {' '.join(map(str, facts))}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def entry_of(row: Row, *, accepted: str, accepted_by: str, reason: str, latents: str | None = None) -> Entry:
    """Return the entry that accepts ``row``.

    Args:
        latents: where its latents are kept, from the root of baselines.
    """
    return Entry(
        verdict=row.verdict,
        image_sha256=row.image_sha256,
        latents_sha256=row.latents_sha256,
        latents=latents,
        scores=_rounded(row.scores),
        settings=row.settings,
        preview_sha256=row.description.preview.sha256,
        lora_sha256=row.description.lora.sha256 if row.description.lora else None,
        rendered=rendered_facts(row),
        environment=row.environment,
        accepted=accepted,
        accepted_by=accepted_by,
        reason=reason,
    )


def rendered_facts(row: Row) -> dict[str, Any]:
    """Return the settings as rendered, without explanations and the sigmas, of which the hash is enough."""
    return row.rendered.model_dump(exclude={"sigmas", "engine_reason"}) if row.rendered else {}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, ``{"packages.torch": "2.14.1", …}``, sorted by name."""
    found: dict[str, Any] = {}
    for name, value in sorted(values.items()):
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found


def _rounded(scores: Scores | None) -> Scores | None:
    if scores is None:
        return None
    values = scores.model_dump(include={"ssim", "lpips", "psnr"}, exclude_none=True)
    return scores.model_copy(update={name: round(value, SCORE_DIGITS) for name, value in values.items()})

"""The answer of the reference server's ``GET /v1/requests/{id}/result``, as sent and as kept in a file.

Source: ``runcomfy-com/ai-toolkit-inference``, ``src/schemas/response.py``. Keys beside these are passed over.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from harness.schema.spec import Limits

ENDED = ("succeeded", "failed", "canceled")
"""What ``status`` ends in, after ``queued`` or ``in_queue``, and ``in_progress``."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ImageOutput(_Answer):
    """One image: the seed it was drawn with, its size in pixels, and its file's path on the server or URL."""

    seed: int | None = Field(None, ge=0, le=Limits().seed[1])
    width: int | None = None
    height: int | None = None
    file_path: str | None = None


class Outputs(_Answer):
    """What a request made, in the order of its prompts."""

    images: list[ImageOutput] = Field(default_factory=list)


class ServerResult(_Answer):
    """Where a request stands, and what it made; None where it has made nothing yet."""

    status: str | None = None
    error: str | None = None
    outputs: Outputs | None = None

    @property
    def ended(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in ENDED

    @property
    def images(self) -> list[ImageOutput]:
        """The images that were made."""
        return self.outputs.images if self.outputs is not None else []

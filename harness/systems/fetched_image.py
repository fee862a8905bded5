"""An image that another system under test made, as the file that it wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.schema.render import Renderer, RenderRequest


@dataclass(frozen=True)
class FetchedImage:
    """The image's file, and the JSON files that say how it was asked for, where the image itself does not."""

    image: Path
    beside: list[Path] = field(default_factory=list)


class ImageSource(Renderer, Protocol):
    """A system under test that writes image files."""

    def fetch(self, request: RenderRequest, folder: Path) -> FetchedImage:
        """Render one request, and put the system's own file into ``folder``."""
        ...

    def check(self, request: RenderRequest) -> None:
        """Refuse what the system lacks, before anything is sent.

        Raises:
            ServerError: names it.
        """
        ...

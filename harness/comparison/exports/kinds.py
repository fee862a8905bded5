"""What a case can be exported as."""

from __future__ import annotations

from typing import Literal

ExportKind = Literal["comfy", "diffusers", "request"]

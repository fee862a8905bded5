"""The HTTP API of a running ComfyUI, as far as a workflow needs it.

Facts: ComfyUI's ``server.py`` and ``execution.py`` (GPL-3.0, read for its API alone). It keeps its queue and
its history in memory: after a restart it knows none of the prompts that it had taken.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import httpx2
from pydantic import Field, RootModel, ValidationError

from harness.systems.comfy_graph import Graph
from harness.systems.http_connection import (
    MAX_SHOWN,
    NOT_FOUND,
    PATIENCE_SECONDS,
    Answer,
    HttpConnection,
)


class _System(Answer):
    comfyui_version: str = "unknown"
    pytorch_version: str = "unknown"


class SystemStats(Answer):
    """The answer of ``GET /system_stats``."""

    system: _System


class _Queued(Answer):
    prompt_id: str = Field(pattern=r"^[\w.-]+$")


class ImageFile(Answer):
    """An image in one of ComfyUI's folders."""

    filename: str
    subfolder: str = ""
    type: str = "output"


class _NodeOutput(Answer):
    images: list[ImageFile] = Field(default_factory=list)


class _Status(Answer):
    status_str: str = ""
    messages: list[tuple[str, dict[str, Any]]] = Field(default_factory=list)


class Executed(Answer):
    """A prompt that ended, of ``GET /history/{id}``: outputs by node, and what happened on the way."""

    outputs: dict[str, _NodeOutput] = Field(default_factory=dict)
    status: _Status = _Status()

    @property
    def images(self) -> list[ImageFile]:
        """The images that were saved; previews in ComfyUI's temporary folder are none."""
        found = [image for output in self.outputs.values() for image in output.images]
        return [image for image in found if image.type == "output"]

    @property
    def failure(self) -> str | None:
        """What failed, in ComfyUI's words; None where nothing did."""
        for kind, message in self.status.messages:
            if kind == "execution_error":
                return f"{message.get('node_type')}: {message.get('exception_message')}"[:MAX_SHOWN].strip()
            if kind == "execution_interrupted":
                return "it was interrupted there"
        return "no reason" if self.status.status_str == "error" else None


class _NodeError(Answer):
    class_type: str = "a node"
    errors: list[dict[str, Any]] = Field(default_factory=list)


class _Refusal(Answer):
    error: dict[str, Any] = Field(default_factory=dict)
    node_errors: dict[str, _NodeError] | list[Any] = Field(default_factory=dict)


class _History(RootModel[dict[str, Executed]]):
    """Prompts that ended, by id."""


class ComfyClient(HttpConnection):
    """Talks to one ComfyUI; see ``HttpConnection``."""

    def __init__(self, url: str, headers: Sequence[str] = (), *, patience: float = PATIENCE_SECONDS) -> None:
        super().__init__(url, headers, "--comfy", patience)
        self._id = uuid.uuid4().hex

    def stats(self) -> SystemStats:
        """Return what the system is; one that is away is not waited for."""
        return self.read(SystemStats, self.send_once("GET", "/system_stats"))

    def submit(self, graph: Graph) -> str:
        """Queue a workflow and return its id.

        Raises:
            ServerError: ComfyUI refuses it; names the nodes and what is wrong with them.
        """
        body = {"prompt": graph, "client_id": self._id}
        return self.read(_Queued, self.send("POST", "/prompt", json=body)).prompt_id

    def executed(self, prompt_id: str) -> Executed | None:
        """Return what became of a prompt; None while it has not ended."""
        return self.read(_History, self.send("GET", f"/history/{prompt_id}")).root.get(prompt_id)

    def waits(self, prompt_id: str) -> bool:
        """Say whether a prompt is queued or running."""
        return prompt_id in self.send("GET", "/queue").text

    def image(self, file: ImageFile) -> bytes:
        """Return the bytes of a saved image."""
        answer = self.send("GET", "/view", params=file.model_dump())
        if answer.status_code == NOT_FOUND:
            raise self.error(f"has no image {file.filename} any more")
        return answer.content

    def describe(self, answer: httpx2.Response) -> str:
        """Return which nodes ComfyUI refuses, and why; else the start of what it says."""
        try:
            refusal = _Refusal.model_validate_json(answer.content)
        except ValidationError:
            return super().describe(answer)
        nodes = refusal.node_errors if isinstance(refusal.node_errors, dict) else {}
        said = [
            f"{node.class_type}: {error.get('message')} ({error.get('details')})"[:MAX_SHOWN]
            for node in nodes.values()
            for error in node.errors
        ]
        return "; ".join(said) or str(refusal.error.get("message") or super().describe(answer))[:MAX_SHOWN]

"""A running ComfyUI as the system under test: workflows are sent to it, and its images come back."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from harness._util.atomic_files import write_bytes
from harness.errors import RenderError
from harness.metrics.codec import Codec
from harness.metrics.images import Pixels
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Rendered
from harness.systems.comfy_client import ComfyClient, Executed
from harness.systems.comfy_graph import SAMPLER, Graph, api_graph
from harness.systems.fetched_image import FetchedImage, ImageSource, read_fetched, rendered_elsewhere
from harness.systems.polling import MAX_RENDER_SECONDS, pause, sent_until_ended

PREFIX = "flex2-harness"
"""How ComfyUI begins the names of the image files that it writes for us."""

RUN_INPUT = "harness_run"
"""An input that no node has: ComfyUI passes it over, but takes no node with another value from its cache."""


class ComfyRenderer(ImageSource):
    """Renders by a running ComfyUI.

    Args:
        files: values of its loaders' inputs, by the input's name; see ``comfy_graph.LOADERS``.

    Raises:
        ServerError: it cannot be reached, or is no ComfyUI.
    """

    def __init__(self, client: ComfyClient, files: Mapping[str, str]) -> None:
        self._client, self._files = client, files
        self._stats = client.stats().system

    @property
    def facts(self) -> dict[str, str]:
        """What is known of the machine: ComfyUI's address, and what it runs on."""
        stats = self._stats
        return {
            "host": self._client.host, "comfyui": stats.comfyui_version, "torch": stats.pytorch_version,
        }  # fmt: skip

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``. ComfyUI is asked for no steps: all are done at once.

        Raises:
            ServerError: it refuses the workflow, stays away, or answers something else than its API.
            RenderError: the render failed there, or its image cannot be used.
        """
        started = time.perf_counter()
        graph, data = self._made(request)
        image, codec = _read(data)
        if on_step is not None:
            on_step(request.sample_steps, request.sample_steps)
        return Render(
            image=image,
            rendered=self._rendered(request, graph, image),
            seconds={"render": round(time.perf_counter() - started, 4)},
            codec=codec,
        )

    def fetch(self, request: RenderRequest, folder: Path) -> FetchedImage:
        """Render one request, and put ComfyUI's own file into ``folder``: it holds the workflow itself.

        Raises:
            HarnessError: as ``render``; what cannot be read as an image is written all the same.
        """
        _, data = self._made(request)
        file = folder / "comfyui.png"
        write_bytes(file, data)
        return FetchedImage(file)

    def check(self, request: RenderRequest) -> None:
        """Refuse nothing: what ComfyUI lacks it says of the workflow itself."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _made(self, request: RenderRequest) -> tuple[Graph, bytes]:
        """Return the workflow that was run, and the one image that it saved."""
        graph = api_graph(request, PREFIX, self._files)
        done = sent_until_ended(lambda: self._wait(self._client.submit(_fresh(graph))), self._client.host)
        if done.failure is not None:
            raise RenderError(f"ComfyUI failed: {done.failure}")
        if len(done.images) != 1:
            raise RenderError(f"ComfyUI saved {len(done.images)} images of one prompt")
        return graph, self._client.image(done.images[0])

    def _wait(self, prompt_id: str) -> Executed | None:
        """Return what became of a workflow; None where ComfyUI knows nothing of it any more."""
        started = time.monotonic()
        while (done := self._client.executed(prompt_id)) is None:
            if not self._client.waits(prompt_id):
                return self._client.executed(prompt_id)  # it may have ended between the two questions
            elapsed = time.monotonic() - started
            if elapsed > MAX_RENDER_SECONDS:
                raise RenderError(f"ComfyUI did not finish within {MAX_RENDER_SECONDS:g} s")
            pause(elapsed)
        return done

    def _rendered(self, request: RenderRequest, graph: Graph, image: Pixels) -> Rendered:
        height, width, _ = image.shape
        unet = next(node["inputs"]["unet_name"] for node in graph.values() if "unet_name" in node["inputs"])
        version = f"ComfyUI {self._stats.comfyui_version}"
        return rendered_elsewhere(
            request, size=(width, height), seed=request.seed, host=self._client.host, pipeline=version,
            base=unet,
        )  # fmt: skip


def _fresh(graph: Graph) -> Graph:
    """Return ``graph`` so that ComfyUI samples again, also where its cache holds the very same workflow."""
    own = {RUN_INPUT: uuid.uuid4().hex}
    return {
        key: {**node, "inputs": {**node["inputs"], **(own if node["class_type"] == SAMPLER else {})}}
        for key, node in graph.items()
    }


def _read(data: bytes) -> tuple[Pixels, Codec]:
    with tempfile.TemporaryDirectory(prefix="harness-comfy-") as folder:
        file = Path(folder) / "image.png"
        file.write_bytes(data)
        return read_fetched(file, "ComfyUI's image")

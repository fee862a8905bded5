"""The reference server as the system under test: requests are sent to it, and its images come back."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path, PurePosixPath

from harness.errors import ImageError, LoraError, RenderError, ServerError
from harness.metrics.codec import Codec
from harness.metrics.images import Pixels, load_rgb
from harness.schema.render import OnStep, Render, Renderer, RenderRequest
from harness.schema.result import Rendered
from harness.schema.spec import ModelSpec
from harness.systems.inference_body import inference_body
from harness.systems.server_client import ImageOutput, Result, ServedModel, ServerClient

MAX_SENDINGS = 20
"""How often one request is sent to a server that forgets it."""

MAX_RENDER_SECONDS = 3600.0
"""After so long a request that is still under way has failed."""

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.002, 0.5
POLL_SHARE = 0.005
"""The pause between two polls, as a share of the time since the request was sent."""

UNKNOWN = "unknown"

_log = logging.getLogger(__name__)


class ServerRenderer(Renderer):
    """Renders by a reference server.

    Args:
        model: the model as the server describes it.
        root: where the server's file system is mounted here; ``/`` for a server on this machine.
    """

    def __init__(self, client: ServerClient, model: ServedModel, spec: ModelSpec, root: Path) -> None:
        self._client, self._model, self._spec = client, model, spec
        self._root = root.resolve()

    @property
    def facts(self) -> dict[str, str]:
        """What is known of the machine: the server's address and what it serves."""
        return {"host": self._client.host, "model": self._model.id, "base": self._model.base_model}

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``. The server tells no steps: all are done at once.

        Raises:
            ServerError: it refuses the request, stays away, or answers something else than the API describes.
            LoraError: the LoRA does not lie where the server can read it.
            RenderError: the render failed there, or its image cannot be used.
        """
        started = time.perf_counter()
        assert request.lora is not None
        body = inference_body(request, self._spec, self._path_there(request.lora.file))
        for sending in range(1, MAX_SENDINGS + 1):
            result = self._wait(self._client.submit(body))
            if result is not None:
                break
            _log.info("the server %s forgot a request, sending %d", self._client.host, sending)
        else:
            raise ServerError(f"forgot a request {MAX_SENDINGS} times", file=f"server {self._client.host}")
        output = self._output(result)
        image, codec = self._image(output)
        if on_step is not None:
            on_step(request.sample_steps, request.sample_steps)
        return Render(
            image=image,
            rendered=self._rendered(request, output),
            seconds={"render": round(time.perf_counter() - started, 4)},
            warnings=self._warnings(request, output),
            codec=codec,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _wait(self, request_id: str) -> Result | None:
        """Return the result of a request that ended; None where the server has forgotten it."""
        started = time.monotonic()
        while (result := self._client.result(request_id)) is not None and not result.ended:
            elapsed = time.monotonic() - started
            if elapsed > MAX_RENDER_SECONDS:
                raise RenderError(
                    f"the server did not finish within {MAX_RENDER_SECONDS:g} s: {result.status}"
                )
            time.sleep(min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, POLL_SHARE * elapsed)))
        return result

    @staticmethod
    def _output(result: Result) -> ImageOutput:
        if result.status != "succeeded":
            raise RenderError(f"the server says {result.status}: {result.error or 'no reason'}")
        images = result.outputs.images if result.outputs is not None else []
        if len(images) != 1:
            raise RenderError(f"the server made {len(images)} images of one prompt")
        return images[0]

    def _image(self, output: ImageOutput) -> tuple[Pixels, Codec]:
        if "://" not in output.file_path:
            return self._read(self._path_here(output.file_path), output)
        if not self._client.serves(output.file_path):
            raise RenderError(f"the server's image {output.file_path} is on another server")
        with tempfile.TemporaryDirectory(prefix="harness-server-") as folder:
            file = Path(folder) / "image"
            file.write_bytes(self._client.download(output.file_path))
            return self._read(file, output)

    @staticmethod
    def _read(file: Path, output: ImageOutput) -> tuple[Pixels, Codec]:
        try:
            image, codec = load_rgb(file), Codec.of(file)
        except ImageError as error:
            fix = "mount the server's file system and name it with --server-root"
            raise RenderError(
                f"the server's image {output.file_path} {error.found}", fix=None if file.exists() else fix
            ) from error
        height, width, _ = image.shape
        if (width, height) != (output.width, output.height):
            raise RenderError(
                f"the server's image is {width}×{height}, it says {output.width}×{output.height}"
            )
        return image, codec

    def _path_there(self, file: Path) -> str:
        """Return the path of a file of ours as the server sees it."""
        file = file.resolve()
        if not file.is_relative_to(self._root):
            fix = "name a folder that both see, with the cases below it"
            raise LoraError(f"is not below --server-root {self._root}", file=file, fix=fix)
        return f"/{file.relative_to(self._root).as_posix()}"

    def _path_here(self, path: str) -> Path:
        """Return where a file of the server's lies here.

        Raises:
            RenderError: outside the root.
        """
        file = self._root / PurePosixPath(path).as_posix().lstrip("/")
        if not file.resolve().is_relative_to(self._root):
            raise RenderError(f"the server's image {path} is not below --server-root {self._root}")
        return file

    def _rendered(self, request: RenderRequest, output: ImageOutput) -> Rendered:
        assert request.lora is not None
        unknown = ("sigmas_sha256", "dtype", "noise", "attention", "engine", "offload", "pipeline_sha256")
        return Rendered(
            width=output.width,
            height=output.height,
            steps=request.sample_steps,
            seed=output.seed,
            guidance_scale=request.guidance_scale,
            sigmas=[],
            device=f"server {self._client.host}",
            pipeline=f"server {self._model.id}",
            lora_sha256=request.lora.sha256,
            network_multiplier=request.lora.network_multiplier,
            base=self._model.base_model,
            **dict.fromkeys((*unknown, "lora_mode", "revision"), UNKNOWN),
        )

    def _warnings(self, request: RenderRequest, output: ImageOutput) -> tuple[str, ...]:
        said = []
        if output.seed != request.seed:
            said.append(f"the server drew seed {output.seed}, asked for {request.seed}")
        if request.base.repo not in {None, self._model.base_model}:
            said.append(f"the server's base is {self._model.base_model}, the case's {request.base.repo}")
        return tuple(said)

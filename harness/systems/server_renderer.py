"""The reference server as the system under test: requests are sent to it, and its images come back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harness._util.atomic_files import write_bytes, write_json
from harness._util.real_paths import real_path
from harness.errors import LoraError, RenderError, ServerError
from harness.metrics.codec import Codec
from harness.metrics.images import Pixels
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Rendered
from harness.schema.server_result import ImageOutput, ServerResult
from harness.systems.fetched_image import FetchedImage, ImageSource, read_fetched, rendered_elsewhere
from harness.systems.inference_body import inference_body
from harness.systems.polling import MAX_RENDER_SECONDS, pause, sent_until_ended
from harness.systems.server_client import ServedModel, ServerClient

UNDER_WAY = frozenset({"queued", "in_queue", "in_progress"})


@dataclass(frozen=True)
class _Served:
    """A request that succeeded: its body, the server's answer, and the one image with its file here."""

    body: dict[str, Any]
    result: ServerResult
    output: ImageOutput
    file: Path


class ServerRenderer(ImageSource):
    """Renders by a reference server.

    Args:
        models: what the server serves, by id.
        root: where the server's file system is mounted here; ``/`` for a server on this machine.
    """

    def __init__(self, client: ServerClient, models: Mapping[str, ServedModel], root: Path) -> None:
        self._client, self._models = client, models
        self._root = real_path(root)

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the machine: the server's address and what it serves."""
        served = {name: model.base_model for name, model in sorted(self._models.items())}
        return {"host": self._client.host, "models": served}

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``. The server tells no steps: all are done at once.

        Raises:
            ServerError: it refuses the request, stays away, or answers something else than the API describes.
            LoraError: the LoRA does not lie where the server can read it.
            RenderError: the render failed there, or its image cannot be used.
        """
        started = time.perf_counter()
        with self._served(request) as served:
            image, codec = _read(served)
        if on_step is not None:
            on_step(request.sample_steps, request.sample_steps)
        return Render(
            image=image,
            rendered=self._rendered(request, served.output),
            seconds={"render": round(time.perf_counter() - started, 4)},
            warnings=self._warnings(request, served.output),
            codec=codec,
        )

    def fetch(self, request: RenderRequest, folder: Path) -> FetchedImage:
        """Render one request, and put the server's own file, its request and its result into ``folder``.

        Raises:
            HarnessError: as ``render``; what cannot be read as an image is written all the same.
        """
        with self._served(request) as served:
            image = folder / f"server{PurePosixPath(str(served.output.file_path)).suffix}"
            files = [folder / "request.json", folder / "result.json"]
            write_bytes(image, served.file.read_bytes())
            write_json(files[0], served.body)
            write_json(files[1], served.result.model_dump())
        return FetchedImage(image, files)

    def check(self, request: RenderRequest) -> None:
        """Refuse a model that the server does not serve; see ``ImageSource``."""
        self._model(request)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _served(self, request: RenderRequest) -> Iterator[_Served]:
        """Have a request rendered; a file that was downloaded is removed when the block ends."""
        assert request.lora is not None
        self.check(request)
        body = inference_body(request, self._path_there(request.lora.file))
        result = sent_until_ended(lambda: self._wait(self._client.submit(body)), self._client.host)
        output = _output(result)
        with self._file(str(output.file_path)) as file:
            yield _Served(body, result, output, file)

    def _model(self, request: RenderRequest) -> ServedModel:
        if request.model not in self._models:
            known = ", ".join(sorted(self._models)) or "nothing"
            raise ServerError(f"serves no {request.model}, only {known}", file=f"server {self._client.host}")
        return self._models[request.model]

    def _wait(self, request_id: str) -> ServerResult | None:
        """Return the result of a request that ended; None where the server has forgotten it."""
        started = time.monotonic()
        while (result := self._client.result(request_id)) is not None and not result.ended:
            if result.status not in UNDER_WAY:
                raise RenderError(f"the server says {result.status!r}, which the API does not describe")
            elapsed = time.monotonic() - started
            if elapsed > MAX_RENDER_SECONDS:
                raise RenderError(
                    f"the server did not finish within {MAX_RENDER_SECONDS:g} s: {result.status}"
                )
            pause(elapsed)
        return result

    @contextmanager
    def _file(self, path: str) -> Iterator[Path]:
        """Return where an image lies here; one that the server gives as a URL is downloaded for the block."""
        if "://" not in path:
            yield self._path_here(path)
            return
        if not self._client.serves(path):
            raise RenderError(f"the server's image {path} is on another server")
        with tempfile.TemporaryDirectory(prefix="harness-server-") as folder:
            file = Path(folder) / "image"
            file.write_bytes(self._client.download(path))
            yield file

    def _path_there(self, file: Path) -> str:
        """Return the path of a file of ours as the server sees it."""
        file = real_path(file)
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
        if not real_path(file).is_relative_to(self._root):
            raise RenderError(f"the server's image {path} is not below --server-root {self._root}")
        if not file.is_file():
            fix = "mount the server's file system and name it with --server-root"
            raise RenderError(f"the server's image {path} is no file here", fix=fix)
        return file

    def _rendered(self, request: RenderRequest, output: ImageOutput) -> Rendered:
        assert output.width is not None
        assert output.height is not None
        assert output.seed is not None
        model, size = self._model(request), (output.width, output.height)
        return rendered_elsewhere(
            request, size=size, seed=output.seed, host=self._client.host, pipeline=f"server {model.id}",
            base=model.base_model,
        )  # fmt: skip

    def _warnings(self, request: RenderRequest, output: ImageOutput) -> tuple[str, ...]:
        said, base = [], self._model(request).base_model
        if output.seed != request.seed:
            said.append(f"the server drew seed {output.seed}, asked for {request.seed}")
        if request.base.repo not in {None, base}:
            said.append(f"the server's base is {base}, the case's {request.base.repo}")
        return tuple(said)


def _output(result: ServerResult) -> ImageOutput:
    if result.status != "succeeded":
        raise RenderError(f"the server says {result.status}: {result.error or 'no reason'}")
    if len(result.images) != 1:
        raise RenderError(f"the server made {len(result.images)} images of one prompt")
    (output,) = result.images
    if None in (output.seed, output.width, output.height, output.file_path):
        raise RenderError("the server's result lacks the image's seed, width, height or file_path")
    return output


def _read(served: _Served) -> tuple[Pixels, Codec]:
    output = served.output
    image, codec = read_fetched(served.file, f"the server's image {output.file_path}")
    height, width, _ = image.shape
    if (width, height) != (output.width, output.height):
        raise RenderError(f"the server's image is {width}×{height}, it says {output.width}×{output.height}")
    return image, codec

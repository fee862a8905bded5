"""A ComfyUI on loopback: the part of its HTTP API that a workflow needs, rendering on the tiny checkpoint.

Written from the API alone. It answers 400 with ``node_errors`` where a loader's file is not in its folders,
runs one prompt at a time, keeps queue and history in memory, answers a prompt again from its cache where no
input of the sampler changed, and saves PNGs that hold the workflow.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness._util.atomic_files import sha256_file
from harness.schema.base import Base
from harness.schema.render import Lora, RenderRequest
from tests.systems.loopback import RENDERING, LoopbackServer, renderer

BASE = Base(embedded="tiny-flex2-emoji")
UNET = "Flex.2-preview.safetensors"


class ComfyServer(LoopbackServer):
    """Serves while it is open.

    Args:
        folder: holds LoRAs in ``loras`` and receives images in ``output``.
        unets: transformer files that it knows.

    Attributes:
        sampled: how often it really rendered.
    """

    def __init__(self, folder: Path, *, unets: tuple[str, ...] = (UNET,)) -> None:
        self.folder, self.unets = folder, unets
        (folder / "output").mkdir(parents=True, exist_ok=True)
        (folder / "loras").mkdir(exist_ok=True)
        self.renderer = renderer()
        self.history: dict[str, Any] = {}
        self.queue: list[str] = []
        self.spoil: Callable[[Path], None] = lambda _file: None
        self.sampled = self.forgotten = 0
        self._cache: dict[str, Path] = {}
        super().__init__()

    def close(self) -> None:
        super().close()
        with RENDERING:
            pass  # what is being rendered ends

    def forget(self) -> None:
        self.forgotten += len(self.queue)
        self.history, self.queue, self._cache = {}, [], {}

    def found(self, path: str, body: bytes | None) -> tuple[int, Any]:
        place, query = urlsplit(path).path, parse_qs(urlsplit(path).query)
        if place == "/system_stats":
            return 200, {"system": {"comfyui_version": "0.3.64", "pytorch_version": "2.9.1"}, "devices": []}
        if place == "/prompt" and body is not None:
            return self._submit(json.loads(body)["prompt"])
        if place == "/queue":
            queued = [[0, name, {}, {}, []] for name in self.queue]
            return 200, {"queue_running": queued[:1], "queue_pending": queued[1:]}
        if place == "/view":
            file = self.folder / "output" / query["filename"][0]
            return (200, file.read_bytes()) if file.is_file() else (404, b"")
        name = place.removeprefix("/history/")
        return 200, {name: self.history[name]} if name in self.history else {}

    def _submit(self, graph: dict[str, Any]) -> tuple[int, Any]:
        self.posts.append(graph)
        if errors := self._refused(graph):
            error = {
                "type": "prompt_outputs_failed_validation",
                "message": "Prompt outputs failed validation",
            }
            return 400, {"error": {**error, "details": ""}, "node_errors": errors}
        name = str(uuid.uuid4())
        self.queue = [*self.queue, name]
        threading.Thread(target=self._run, args=(name, graph), daemon=True).start()
        return 200, {"prompt_id": name, "number": len(self.posts), "node_errors": {}}

    def _refused(self, graph: dict[str, Any]) -> dict[str, Any]:
        known = {
            "unet_name": self.unets,
            "lora_name": [file.name for file in (self.folder / "loras").iterdir()],
        }
        errors: dict[str, Any] = {}
        for key, node in graph.items():
            for name, files in known.items():
                if (value := node["inputs"].get(name, files)) is not files and value not in files:
                    details = f"{name}: '{value}' not in {list(files)}"
                    error = {"type": "value_not_in_list", "message": "Value not in list", "details": details}
                    errors[key] = {
                        "errors": [error],
                        "class_type": node["class_type"],
                        "dependent_outputs": ["1"],
                    }
        return errors

    def _run(self, name: str, graph: dict[str, Any]) -> None:
        with RENDERING:
            if name not in self.queue:
                return
            try:
                outputs, status = (
                    {"9": {"images": [self._saved(name, graph)]}},
                    {"status_str": "success", "messages": []},
                )
            except Exception as error:
                message = {"node_type": "KSampler", "exception_message": f"{error}\n", "traceback": []}
                outputs, status = {}, {"status_str": "error", "messages": [["execution_error", message]]}
            if name in self.queue:
                self.history[name] = {
                    "prompt": [],
                    "outputs": outputs,
                    "status": {**status, "completed": True},
                }
                self.queue = [each for each in self.queue if each != name]

    def _saved(self, name: str, graph: dict[str, Any]) -> dict[str, str]:
        key = json.dumps(graph, sort_keys=True)
        if key not in self._cache:
            file = self.folder / "output" / f"image_{name}_.png"
            text = PngInfo()
            text.add_text("prompt", json.dumps(graph))
            Image.fromarray(self.renderer.render(self._request(graph)).image).save(file, pnginfo=text)
            self._cache[key] = file
            self.sampled += 1
        self.spoil(self._cache[key])
        return {"filename": self._cache[key].name, "subfolder": "", "type": "output"}

    def _request(self, graph: dict[str, Any]) -> RenderRequest:
        nodes = {node["class_type"]: node["inputs"] for node in graph.values()}
        prompt = next(
            node["inputs"]["text"] for node in graph.values() if node["class_type"] == "CLIPTextEncode"
        )
        size, sampler, lora = (
            nodes["EmptySD3LatentImage"],
            nodes["KSampler"],
            nodes.get("LoraLoaderModelOnly"),
        )
        file = self.folder / "loras" / lora["lora_name"] if lora else None
        return RenderRequest(
            base=BASE,
            pipeline="builtin",
            dtype="bf16",
            lora=Lora(file, sha256_file(file), lora["strength_model"]) if lora and file else None,
            prompt=prompt.replace(r"\(", "(").replace(r"\)", ")"),
            neg="",
            width=size["width"],
            height=size["height"],
            seed=sampler["seed"],
            sample_steps=sampler["steps"],
            guidance_scale=nodes["Flex2Conditioner"]["guidance"],
        )

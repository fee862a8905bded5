"""A reference server on loopback: the documented API with its quirks, rendering on the tiny checkpoint.

Written from the API's description. It answers ``queued`` to a new request and ``in_queue`` to its status,
renders one request at a time, wants exactly one LoRA, writes JPEG quality 95 to a folder of its own, and
forgets all requests when it restarts.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.schema.base import Base
from harness.schema.render import Lora, RenderRequest
from tests.systems.loopback import RENDERING, LoopbackServer, renderer

BASE = Base(embedded="tiny-flex2-emoji")
ENDED = ("succeeded", "failed")


class ReferenceServer(LoopbackServer):
    """Serves while it is open.

    Args:
        outputs: the folder that images are written to.
        token: what the header ``X-Token`` must hold.
        guidance: is added to what a request asks for where ``drifts`` says so: a server that drifts.
    """

    def __init__(self, outputs: Path, *, token: str | None = None, guidance: float = 0.0) -> None:
        outputs.mkdir(parents=True, exist_ok=True)
        self.outputs, self.guidance = outputs, guidance
        self.drifts: Callable[[dict[str, Any]], bool] = lambda _prompt: True
        self.root = Path("/")
        self.renderer = renderer()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.spoil: Callable[[dict[str, Any]], None] = lambda _image: None
        self.forgotten = 0
        self.seconds: list[float] = []
        super().__init__(token=token)

    def close(self) -> None:
        super().close()
        with RENDERING:
            pass  # what is being rendered ends

    def forget(self) -> None:
        self.forgotten += sum(task["status"] not in ENDED for task in self.tasks.values())
        self.tasks = {}

    def found(self, path: str, body: bytes | None) -> tuple[int, Any]:
        if path == "/v1/models":
            model = {"id": "flex2", "base_model": "ostris/Flex.2-preview", "resolution_divisor": 32}
            return 200, {"models": [{"id": "flux", "base_model": "x"}, model]}
        if path == "/v1/inference" and body is not None:
            return self._submit(json.loads(body))
        if path.startswith("/files/"):
            return 200, (self.outputs / path.rpartition("/")[2]).read_bytes()
        _, _, _, request_id, wanted = path.split("/")
        task = self.tasks.get(request_id)
        if task is None:
            return 404, _error("REQUEST_NOT_FOUND", f"Request not found: {request_id}")
        return 200, task if wanted == "result" else {name: task[name] for name in ("status", "error")}

    def _submit(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.posts.append(body)
        if len(body["loras"]) == 0:
            return 400, _error("LORA_FILE_REQUIRED", "At least one LoRA is required")
        if len(body["loras"]) > 1:
            return 400, _error("SINGLE_LORA_ONLY", "Model 'flex2' only supports 1 LoRA file")
        if not self._lora(body).is_file():
            return 400, _error("LORA_NOT_FOUND", f"LoRA file not found: {body['loras'][0]['path']}")
        request_id = str(uuid.uuid4())
        task = self.tasks[request_id] = {"request_id": request_id, "status": "in_queue", "error": None}
        threading.Thread(target=self._render, args=(task, body), daemon=True).start()
        return 200, {"request_id": request_id, "status": "queued"}

    def _render(self, task: dict[str, Any], body: dict[str, Any]) -> None:
        with RENDERING:  # one at a time
            if task["request_id"] not in self.tasks:
                return
            task["status"] = "in_progress"
            started = time.perf_counter()
            try:
                image = self._image(task["request_id"], body)
            except Exception as error:
                task.update(error=str(error), status="failed")
                return
            self.spoil(image)
            self.seconds.append(time.perf_counter() - started)
            task.update(outputs={"images": [image], "videos": []}, status="succeeded")

    def _lora(self, body: dict[str, Any]) -> Path:
        return self.root / str(body["loras"][0]["path"]).lstrip("/")

    def _image(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        (prompt,), (lora,) = body["prompts"], body["loras"]
        file = self._lora(body)
        made = self.renderer.render(
            RenderRequest(
                base=BASE,
                pipeline="builtin",
                dtype="bf16",
                lora=Lora(file, sha256_file(file), lora["network_multiplier"]),
                **prompt | {"guidance_scale": prompt["guidance_scale"] + self.guidance * self.drifts(prompt)},
            )
        ).image
        file = self.outputs / f"{name}_output_0.jpg"
        Image.fromarray(made).save(file, quality=95)
        height, width, _ = made.shape
        path = f"/{file.relative_to(self.root)}"
        return {"format": "jpeg", "width": width, "height": height, "file_path": path, "seed": prompt["seed"]}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"detail": {"error": {"code": code, "message": message, "details": {}}}}

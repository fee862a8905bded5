"""A reference server on loopback: the documented API with its quirks, rendering on the tiny checkpoint.

Written from the API's description. It answers ``queued`` to a new request and ``in_queue`` to its status,
renders one request at a time, wants exactly one LoRA, writes JPEG quality 95 to a folder of its own, and
forgets all requests when it restarts.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Base
from harness.schema.render import Lora, RenderRequest

BASE = Base(embedded="tiny-flex2-emoji")
ENDED = ("succeeded", "failed")
Fault = Callable[[str], int | None]
"""Says with which status a path is answered instead; None answers it."""


class ReferenceServer:
    """Serves while it is open.

    Args:
        outputs: the folder that images are written to.
        token: what the header ``X-Token`` must hold.
        guidance: is added to what a request asks for: a server that drifts.
    """

    def __init__(self, outputs: Path, *, token: str | None = None, guidance: float = 0.0) -> None:
        outputs.mkdir(parents=True, exist_ok=True)
        self.outputs, self.token, self.guidance = outputs, token, guidance
        self.root = Path("/")
        self.renderer = ReferenceRenderer(device="cpu")
        self.tasks: dict[str, dict[str, Any]] = {}
        self.posts: list[dict[str, Any]] = []
        self.fault: Fault = lambda _path: None
        self.spoil: Callable[[dict[str, Any]], None] = lambda _image: None
        self.forgotten = 0
        self.seconds: list[float] = []
        self._lock = threading.Lock()
        self._http = self._listen(0)
        self.port = self._http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        with self._lock:
            self.renderer.close()

    def restart(self) -> None:
        """Refuse connections for a moment, and forget everything."""
        self._http.shutdown()
        self._http.server_close()
        self.forgotten += sum(task["status"] not in ENDED for task in self.tasks.values())
        self.tasks = {}
        self._http = self._listen(self.port)

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                server.answer(self, None)

            def do_POST(self) -> None:
                server.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        http = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=http.serve_forever, args=(0.005,), daemon=True).start()
        return http

    def answer(self, call: BaseHTTPRequestHandler, body: bytes | None) -> None:
        if self.token is not None and call.headers.get("X-Token") != self.token:
            status, found = 401, {"detail": f"bad token {call.headers.get('X-Token')}"}
        elif (fault := self.fault(call.path)) is not None:
            status, found = fault, {"detail": "out of order"}
        else:
            status, found = self._found(call.path, body)
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        call.send_response(status)
        call.send_header("Content-Length", str(len(data)))
        call.end_headers()
        call.wfile.write(data)

    def _found(self, path: str, body: bytes | None) -> tuple[int, Any]:
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
        with self._lock:  # one at a time
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
                **prompt | {"guidance_scale": prompt["guidance_scale"] + self.guidance},
            )
        ).image
        file = self.outputs / f"{name}_output_0.jpg"
        Image.fromarray(made).save(file, quality=95)
        height, width, _ = made.shape
        path = f"/{file.relative_to(self.root)}"
        return {"format": "jpeg", "width": width, "height": height, "file_path": path, "seed": prompt["seed"]}


@contextmanager
def restarting(server: ReferenceServer, times: int, *, every: int) -> Iterator[None]:
    """Restart ``server`` within the block, a random moment after every so many requests."""
    over, moments, before = threading.Event(), random.Random(5), len(server.posts)

    def restart() -> None:
        for count in range(1, times + 1):
            while len(server.posts) - before < count * every:
                if over.wait(0.002):
                    return
            time.sleep(moments.uniform(0, 0.1))
            server.restart()

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _error(code: str, message: str) -> dict[str, Any]:
    return {"detail": {"error": {"code": code, "message": message, "details": {}}}}

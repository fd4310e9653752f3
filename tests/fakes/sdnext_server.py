"""A stand-in for SD.Next's HTTP API: a real server on a free loopback port, no model behind it.

Answers have the form measured on the host's snapshot of 2026-07-23 (`modules/api/*`). Attributes
are set before or between requests; what came in is kept in `orders` and `interrupts`.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

CHECKPOINT = {
    "type": "sd",
    "class": "StableDiffusionPipeline",
    "checkpoint": "/models/Diffusers/tiny-sd",
    "title": "Diffusers/tiny-sd",
    "name": "Diffusers/tiny-sd",
    "filename": "/models/Diffusers/tiny-sd",
    "hash": None,
}
NO_CHECKPOINT = {"type": None, "class": None}
SAMPLERS = ("Default", "Euler", "Euler a", "DPM++ 2M")


class _Died(Exception):
    """The host went away in the middle of a job."""


class FakeSdnext:
    """Use it as a context manager; `url` is its address."""

    def __init__(self, port: int = 0) -> None:
        self.login: tuple[str, str] | None = None
        self.starting = False
        self.checkpoint: dict[str, Any] = CHECKPOINT
        self.task = ""
        self.scripts = ["xyz grid"]
        self.loras: tuple[str, ...] = ("tiny-red",)
        self.image_format = "PNG"
        self.step_s = 0.0
        #: Instead of generating: (status, content type, body).
        self.answer: tuple[int, str, bytes] | None = None
        self.fixed: dict[str, tuple[int, str, bytes]] = {}
        self.dies = False
        #: The connection breaks, and the job with it, at this step.
        self.dies_at_step: int | None = None
        #: It takes an interrupt and goes on all the same.
        self.deaf = False
        #: How long every answer takes.
        self.delay_s = 0.0
        #: The unfinished picture as the host would send it, and how often it was asked for.
        self.unfinished: str | None = None
        self.previews = 0
        self.interrupted_by_itself = False
        #: A pipeline error, logged and then answered like an interrupt.
        self.pipeline_error: str | None = None
        self.orders: list[dict[str, Any]] = []
        self.finished: list[dict[str, Any]] = []
        self.interrupts = 0
        self.steps_done = 0
        self.began = threading.Event()
        self._queue = threading.Lock()
        self._interrupted = False
        self._stage = {"id": "", "step": 0, "steps": 0}
        self._history: list[dict[str, Any]] = []
        self._log: list[str] = []
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"

    def __enter__(self) -> FakeSdnext:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes] | None:
        """The answer; None drops the connection."""
        time.sleep(self.delay_s)
        if path in self.fixed:
            return self.fixed[path]
        if self.starting:
            return _json({"detail": "Not Found"}, 404)
        if (method, path) == ("POST", "/sdapi/v1/txt2img"):
            order = json.loads(body)
            self.orders.append(order)
            return self._txt2img(order)
        if (method, path) == ("POST", "/sdapi/v1/interrupt"):
            self.interrupts += 1
            self._interrupted = not self.deaf
            return 204, "", b""
        if path == "/sdapi/v1/progress":
            self.previews += 1
            return _json({"current_image": self.unfinished if self.task else None})
        told = {
            "/sdapi/v1/checkpoint": self.checkpoint,
            "/sdapi/v1/scripts": {"txt2img": self.scripts, "img2img": [], "control": []},
            "/sdapi/v1/status": self._status(),
            "/sdapi/v1/history": self._history,
            "/sdapi/v1/log": self._log,
        }
        return _json(told[path]) if path in told else _json({"detail": "Not Found"}, 404)

    def _status(self) -> dict[str, Any]:
        running = "running" if self.task else "idle"
        return {
            "status": "interrupted" if self._interrupted else running,
            "task": self.task,
            **self._stage,
        }

    def _txt2img(self, order: dict[str, Any]) -> tuple[int, str, bytes] | None:
        if order["sampler_name"] not in SAMPLERS:
            return _error(404, "HTTPException", "Sampler not found")
        with self._queue:
            self._begin()
            for name in order.get("alwayson_scripts", {}):
                if name.lower() not in self.scripts:
                    return _error(422, "HTTPException", f"Always on script not found: {name}")
            if self.dies:
                return None
            if self.answer is not None:
                return self.answer
            try:
                return self._pictures(order)
            except _Died:
                self.task, self._stage = "", {"id": "", "step": 0, "steps": 0}
                return None

    def _begin(self) -> None:
        self._interrupted = False
        self.task = "API-TXT"
        job = {"id": f"job{len(self._history)}", "job": "api-txt", "op": "begin"}
        self._history.append(job)
        self.began.set()

    def _pictures(self, order: dict[str, Any]) -> tuple[int, str, bytes]:
        wanted = order["batch_size"] * order["n_iter"]
        seeds = [order["seed"] + i if order["seed"] >= 0 else 1000 + i for i in range(wanted)]
        for batch in range(order["n_iter"]):
            self._stage = {"id": f"stage{len(self._history)}-{batch}", "step": 0, "steps": 0}
            self.task = "Inference"
            for step in range(order["steps"]):
                if self._interrupted or self.interrupted_by_itself:
                    return self._stopped(order, seeds)
                if step == self.dies_at_step:
                    raise _Died
                self.steps_done += 1
                self._stage = {**self._stage, "step": step, "steps": order["steps"]}
                time.sleep(self.step_s)
            if self.pipeline_error is not None:
                self._log_error(self.pipeline_error)
                return self._end(order, [], seeds, [self._infotext(order, seeds[0])])
        texts = [self._infotext(order, seed) for seed in seeds]
        pictures = [
            self._encoded(order, text, seed) for text, seed in zip(texts, seeds, strict=True)
        ]
        self.finished.append(order)
        return self._end(order, pictures, seeds, texts)

    def _stopped(self, order: dict[str, Any], seeds: list[int]) -> tuple[int, str, bytes]:
        """A preview in place of the picture, and one infotext too many, as the host does it."""
        self._interrupted = not self.interrupted_by_itself
        text = self._infotext(order, seeds[0])
        return self._end(order, [self._encoded(order, text, 0)], seeds, [text, text])

    def _end(
        self, order: dict[str, Any], pictures: list[str], seeds: list[int], texts: list[str]
    ) -> tuple[int, str, bytes]:
        self.task, self._stage = "", {"id": "", "step": 0, "steps": 0}
        info = {
            "all_seeds": seeds,
            "infotexts": texts,
            "index_of_first_image": 0,
            "job_timestamp": "20260723142501",
        }
        return _json({"images": pictures, "parameters": order, "info": json.dumps(info)})

    def _infotext(self, order: dict[str, Any], seed: int) -> str:
        applied = [name for name in self.loras if f"<lora:{name}:" in order["prompt"]]
        names = ", ".join(applied)
        if names:
            names = f", LoRA networks: {json.dumps(names) if ',' in names else names}"
        return (
            f"{order['prompt']}\nNegative prompt: {order['negative_prompt']}\n"
            f"Steps: {order['steps']}, Seed: {seed}, App: SD.Next{names}"
        )

    def _encoded(self, order: dict[str, Any], text: str, seed: int) -> str:
        size = (order["width"] // 8 * 8, order["height"] // 8 * 8)
        image = Image.new("RGB", size, (seed % 256, 20, 40))
        buffer = BytesIO()
        image.save(buffer, format=self.image_format)
        return base64.b64encode(buffer.getvalue()).decode()

    def _log_error(self, message: str) -> None:
        """As `modules/logger.py` writes it: the quotes inside are not escaped."""
        head = '{ "asctime":"2026-07-23 14:25:02,345", "created":1.5, "facility":"sd", "pid":1'
        said = f"Processing: step=base args={{'width': 128, 'task': \"x\"}} {message}"
        for module, line in (
            ("processing_diffusers", said),
            ("errors", "Processing: RuntimeError"),
        ):
            self._log.append(
                f'{head}, "tid":2, "level":"ERROR", "module":"{module}", "func":"f", '
                f'"msg":"{line}" }}'
            )


def png_base64(width: int = 8, height: int = 8) -> str:
    """A small valid picture as the API sends it."""
    buffer = BytesIO()
    Image.new("RGB", (width, height)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _json(content: Any, status: int = 200) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(content).encode()


def _error(status: int, kind: str, detail: str) -> tuple[int, str, bytes]:
    """The body of `modules/api/middleware.py`."""
    body = {"error": kind, "code": status, "detail": detail, "errors": f"{status}: {detail}"}
    return _json(body, status)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that has died does not hear its answer; that is nothing to tell."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(fake: FakeSdnext) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: two would wait for each other's receipt

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            answer: tuple[int, str, bytes] | None
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the caller died while it asked
                self.close_connection = True
                return
            if fake.login is not None and self.headers.get("Authorization") != _basic(fake.login):
                answer = _error(401, "HTTPException", "Unauthorized")
            else:
                answer = fake.respond(self.command, urlsplit(self.path).path, body)
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, content_type, content = answer
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", content.decode())
                content = b""
            if content_type:
                self.send_header("Content-Type", content_type)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return _Handler


def _basic(login: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()

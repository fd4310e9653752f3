"""A server on loopback that answers as Civitai's REST API does, as far as look-ups ask it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


class FakeCivitai:
    """Use it as a context manager. What `add` and `versions` do not name is not known (404).

    `answers` are given first, in turn, whatever is asked for.
    """

    def __init__(self) -> None:
        self.paths: dict[str, Answer] = {}
        self.answers: list[Answer] = []
        #: Path and headers (names in lower case) of each request.
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def add_version(self, sha256: str, **more: Any) -> dict[str, Any]:
        """Know a file, as version 22 of model 11, with a picture of its own."""
        version = {
            "id": 22, "modelId": 11, "name": "v2", "baseModel": "SD 1.5", "nsfwLevel": 4,
            "trainedWords": ["hero"], "publishedAt": "2024-01-02T03:04:05.678Z",
            "downloadUrl": "https://civitai.example/22", "stats": {"downloadCount": 5},
            "model": {"name": "Hero", "type": "LORA", "nsfw": False, "poi": False},
            "images": [{"type": "image", "url": f"{self.url}/picture"}], **more,
        }  # fmt: skip
        self.add_json(f"/api/v1/model-versions/by-hash/{sha256}", version)
        model = {"name": "Hero", "description": "<p>A hero</p>", "tags": ["comic"],
                 "creator": {"username": "somebody"}}  # fmt: skip
        self.add_json("/api/v1/models/11", model)
        return version

    def add_json(self, path: str, document: Any) -> None:
        """Answer a path with JSON."""
        self.add(path, json.dumps(document).encode(), "application/json")

    def add(self, path: str, content: bytes, media_type: str) -> None:
        """Answer a path."""
        self.paths[path] = (200, {"Content-Type": media_type}, content)

    def asked(self) -> list[str]:
        """The paths of the requests so far; forgets them."""
        paths = [path for path, _ in self.requests]
        self.requests.clear()
        return paths

    def __enter__(self) -> FakeCivitai:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(civitai: FakeCivitai) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        wbufsize = -1

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            civitai.requests.append((self.path, headers))
            missing: Answer = (404, {}, b'{"error":"Model not found"}')
            known = civitai.paths.get(self.path, missing)
            status, more, content = civitai.answers.pop(0) if civitai.answers else known
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return _Handler

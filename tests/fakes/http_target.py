"""A small HTTP server on loopback that prompts are delivered to."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeTarget:
    """Use it as a context manager. `answers` are given in turn, the last one again and again.

    `gate`, if cleared, holds every answer back; `endless` sends a body without end; `drops` closes
    the connection instead of answering.
    """

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"thank you")]
        self.endless = False
        self.drops = 0
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        #: Request line's target, headers (names in lower case) and body of each request.
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if trust is not None:
            self._server.socket = trust.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]

    @property
    def bodies(self) -> list[Any]:
        """The JSON that came, in order."""
        return [json.loads(body) for _path, _headers, body in self.requests]

    def __enter__(self) -> FakeTarget:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closed.set()
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Take one request and answer it as this server is set to."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append((handler.path, headers, body))
        self.asked.set()
        self.gate.wait(20)
        handler.close_connection = True
        if self.drops:
            self.drops -= 1
            return
        number = min(len(self.requests), len(self.answers)) - 1
        status, more, content = self.answers[number]
        handler.send_response(status)
        for name, value in more.items():
            handler.send_header(name, value)
        if not self.endless:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        while self.endless and not self._closed.is_set():
            handler.wfile.write(b"and so on " * 1000)


def _handler(target: FakeTarget) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        wbufsize = -1

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            try:
                target.answer(self)
                self.wfile.flush()
            except OSError:
                self.close_connection = True  # the other side has gone

        def finish(self) -> None:
            with suppress(OSError):  # as above
                super().finish()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return _Handler

"""The progress feed: from publish to receipt at 500 sockets, beside the bare cost.

    python benchmarks/feed.py [--sockets 500] [--rate 20] [--seconds 15] [--redis URL] [--deflate]

The stand-alone server runs as a process of its own on a free loopback port; threads in it run jobs
(one start, progress, one end each) on its feed. With --redis the jobs are another process's, which
publishes to the same Redis. This process holds the sockets. The bare cost is the same events over
the same sockets from a server that does nothing but `send_text` to each in turn.
"""

from __future__ import annotations

import argparse
import base64
import os
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil

from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, Feed, FeedEvent

#: Jobs at a time, and how many events each has.
_JOBS = 4
_EVENTS = 20
_SETTLE_S = 3.0
_HEADER = struct.Struct("!BB")


def main() -> None:
    """Measure, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20.0, help="events a second, all jobs")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--redis", help="relay through this Redis, from another process")
    parser.add_argument("--deflate", action="store_true", help="sockets that ask for compression")
    parser.add_argument("--be", choices=("ours", "bare", "publisher"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be is None:
        measure(args)
    else:
        {"ours": be_ours, "bare": be_bare, "publisher": be_publisher}[args.be](args)


def measure(args: argparse.Namespace) -> None:
    """Print a row for us and one for the bare cost."""
    print(
        f"{args.sockets} sockets, {args.rate:g} events a second for {args.seconds:g} s, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"{'':8}{'p50':>10}{'p95':>10}{'p99':>10}{'worst':>10}"
        f"{'lost ends':>12}{'merged':>9}{'CPU/send':>12}"
    )
    for _ in range(args.repeats):
        for kind in ("ours", "bare"):
            delays, lost, merged, cpu_s = _one_run(kind, args)
            marks = [_percentile(delays, share) for share in (0.5, 0.95, 0.99, 1.0)]
            times = "".join(f"{mark * 1000:>7.1f} ms" for mark in marks)
            each_us = cpu_s / len(delays) * 1e6
            print(f"{kind:8}{times}{lost:>12}{merged:>9}{each_us:>9.0f} µs", flush=True)


def _one_run(kind: str, args: argparse.Namespace) -> tuple[list[float], int, int, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with _Process(kind, args, port) as server:
        sockets = [Client(port, args.deflate) for _ in range(args.sockets)]
        relayed = kind == "ours" and args.redis is not None
        publisher = _Process("publisher", args, port) if relayed else server
        with publisher:
            before_s = server.cpu_s()
            delays = _receive(sockets, publisher)
            cpu_s = server.cpu_s() - before_s
            published = publisher.published
        for client in sockets:
            client.close()
    ends = {job for job, events in published.items() if events}
    lost = sum(len(ends - client.ended) for client in sockets)
    sent = sum(published.values()) * len(sockets)
    return sorted(delays), lost, sent - len(delays), cpu_s


def _receive(sockets: list[Client], publisher: _Process) -> list[float]:
    """Let it publish; seconds from publish to receipt of each event at each socket."""
    delays: list[float] = []
    with selectors.DefaultSelector() as ready:
        for client in sockets:
            ready.register(client, selectors.EVENT_READ, client)
        publisher.publish()
        quiet_since = time.perf_counter()
        while not publisher.is_done() or time.perf_counter() - quiet_since < _SETTLE_S:
            for key, _ in ready.select(0.2):
                messages = key.data.read()
                now = time.time()
                for message in messages:
                    delays.append(now - message["data"]["sent_at"])
                    if message["type"] == COMPLETE:
                        key.data.ended.add(message["data"]["job_id"])
                quiet_since = time.perf_counter()
    return delays


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class _Process:
    """This file as a server or publisher: it says when it is ready, publishes once when told."""

    def __init__(self, kind: str, args: argparse.Namespace, port: int) -> None:
        self._command = [sys.executable, __file__, "--be", kind, "--port", str(port)]
        self._command += ["--rate", str(args.rate), "--seconds", str(args.seconds)]
        if args.redis:
            self._command += ["--redis", args.redis]
        self.published: dict[str, int] = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._depth = 0

    def __enter__(self) -> _Process:
        self._depth += 1
        if self._depth == 1:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline() != b"ready\n":
                sys.exit(f"{self._command} did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._process.terminate()
            self._process.communicate(timeout=30)

    def publish(self) -> None:
        """Begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"publish\n")
        self._process.stdin.flush()
        self._listener.start()

    def is_done(self) -> bool:
        """Whether all has been published."""
        return bool(self.published)

    def cpu_s(self) -> float:
        """Seconds of work it has done."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        self.published = orjson.loads(self._process.stdout.readline())


class Client:
    """One subscribed socket that does as little as it can."""

    def __init__(self, port: int, deflate: bool) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._buffer = b""
        self._inflate = zlib.decompressobj(-15)
        self.ended: set[str] = set()
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
        self._socket.sendall(
            (
                f"GET /v1/ws/progress HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{extension}"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
            ).encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._socket.recv(65_536)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head:
            sys.exit(f"no socket: {head!r}")
        text = b'{"type":"subscribe"}'
        # Masked with zeros, which is a mask like any other.
        self._socket.sendall(_HEADER.pack(0x81, 0x80 | len(text)) + bytes(4) + text)
        while not any(m["type"] == "subscription_confirmed" for m in self.read()):
            pass

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def read(self) -> list[dict[str, Any]]:
        """What has come, at least a part of something."""
        self._buffer += self._socket.recv(1 << 20)
        return list(self._messages())

    def close(self) -> None:
        """Gone."""
        self._socket.close()

    def _messages(self) -> Iterator[dict[str, Any]]:
        while len(self._buffer) >= 2:
            kind, size = _HEADER.unpack_from(self._buffer)
            start = 2
            if size == 126:
                size, start = int.from_bytes(self._buffer[2:4], "big"), 4
            if len(self._buffer) < start + size:
                return
            body, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
            if kind & 0x0F == 1:
                if kind & 0x40:
                    body = self._inflate.decompress(body + b"\x00\x00\xff\xff")
                yield orjson.loads(body)


def be_ours(args: argparse.Namespace) -> None:
    """The stand-alone server, with its settings, its application and its way of serving."""
    from lora_manager_core.app import create_app
    from lora_manager_core.bootstrap import build_application
    from lora_manager_core.settings import Settings
    from lora_manager_core.web.access import StandAloneAccess
    from lora_manager_core.web.keys import ApiKeys

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), redis_url=args.redis, port=args.port)
        application = build_application(settings)
        application.database.upgrade()
        app = create_app(application, StandAloneAccess(application.services.get(ApiKeys)))
        feed: Feed = application.services.get(Feed)  # type: ignore[type-abstract]
        _serve(app, args, feed.publish)


def be_bare(args: argparse.Namespace) -> None:
    """A server that sends each event to each socket in turn."""
    import asyncio

    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    sockets: list[WebSocket] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def progress(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        await websocket.send_text('{"type":"subscription_confirmed"}')
        sockets.append(websocket)
        loops[:] = [asyncio.get_running_loop()]
        await websocket.receive()

    async def send(text: str) -> None:
        for websocket in sockets:
            await websocket.send_text(text)

    def publish(event: FeedEvent) -> None:
        text = orjson.dumps(event.envelope()).decode()
        asyncio.run_coroutine_threadsafe(send(text), loops[0])

    _serve(Starlette(routes=[WebSocketRoute("/v1/ws/progress", progress)]), args, publish)


def be_publisher(args: argparse.Namespace) -> None:
    """Another process whose jobs the server hears of through Redis."""
    from lora_manager_core.feed.redis import RedisFeed

    feed = RedisFeed(args.redis)
    feed.start()
    print("ready", flush=True)
    _publish_when_told(args, feed.publish)
    sys.stdin.readline()
    feed.stop()


def _serve(app: Any, args: argparse.Namespace, publish: Callable[[FeedEvent], None]) -> None:
    import uvicorn

    from lora_manager_core.cli import SERVER_OPTIONS

    config = uvicorn.Config(app, host="127.0.0.1", port=args.port, **SERVER_OPTIONS)
    server = uvicorn.Server(config)
    threading.Thread(target=_talk, args=(server, args, publish), daemon=True).start()
    server.run()


def _talk(server: Any, args: argparse.Namespace, publish: Callable[[FeedEvent], None]) -> None:
    while not server.started:
        time.sleep(0.01)
    print("ready", flush=True)
    _publish_when_told(args, publish)


def _publish_when_told(args: argparse.Namespace, publish: Callable[[FeedEvent], None]) -> None:
    sys.stdin.readline()
    published: dict[str, int] = {}
    end = time.perf_counter() + args.seconds
    pause_s = _JOBS / args.rate
    threads = [
        threading.Thread(target=_run_jobs, args=(lane, pause_s, end, publish, published))
        for lane in range(_JOBS)
    ]
    for thread in threads:
        time.sleep(pause_s / _JOBS)
        thread.start()
    for thread in threads:
        thread.join()
    print(orjson.dumps(published).decode(), flush=True)


def _run_jobs(
    lane: int,
    pause_s: float,
    end: float,
    publish: Callable[[FeedEvent], None],
    published: dict[str, int],
) -> None:
    """Jobs one after another, whose events have the fields that a generation's have."""
    due = time.perf_counter()
    number = 0
    while time.perf_counter() < end:
        job = f"{os.getpid()}-{lane}-{number}"
        number += 1
        for step in range(_EVENTS):
            time.sleep(max(0.0, due - time.perf_counter()))
            due += pause_s
            publish(_event(job, step))
        published[job] = _EVENTS


def _event(job: str, step: int) -> FeedEvent:
    kind = STARTED if step == 0 else COMPLETE if step == _EVENTS - 1 else PROGRESS
    data: dict[str, Any] = {
        "job_id": job,
        "kind": "generation",
        "status": "completed" if kind == COMPLETE else "processing",
        "progress": step / _EVENTS,
        "current_step": step,
        "total_steps": _EVENTS,
        "eta_seconds": (_EVENTS - step) * 0.2,
        "message": None,
        "preview_image": None,
        "error_message": None,
        "sent_at": time.time(),
    }
    return FeedEvent(kind, job, data)


if __name__ == "__main__":
    main()

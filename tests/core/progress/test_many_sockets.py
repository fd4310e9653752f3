"""Many real sockets of a real server, one of which does not read."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from lora_manager_core.app import create_app
from lora_manager_core.bootstrap import build_application
from lora_manager_core.cli import SERVER_OPTIONS
from lora_manager_core.feed.base import COMPLETE, PROGRESS, Feed, FeedEvent
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys

_READERS = 10
_JOBS = 100
#: A hundred are more than the buffers of a connection hold.
_MESSAGE = "x" * 100_000


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Feed, int]]:
    """The feed and the port of a stand-alone server on a thread."""
    application = build_application(Settings(data_dir=tmp_path))
    app = create_app(application, StandAloneAccess(application.services.get(ApiKeys)))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **SERVER_OPTIONS))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    feed: Feed = application.services.get(Feed)
    yield feed, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(30)


def test_one_that_does_not_read_holds_up_no_other_and_loses_no_end(served):
    feed, port = served

    async def _run() -> None:
        stuck = await _subscribed(port, buffer_size=4096)
        readers = [await _subscribed(port) for _ in range(_READERS)]
        publishing = asyncio.to_thread(_publish, feed)
        _, *heard = await asyncio.gather(publishing, *(_hear_to_the_end(r) for r in readers))
        assert [events[COMPLETE] for events in heard] == [_JOBS] * _READERS
        late = await _hear_to_the_end(stuck)
        assert late[COMPLETE] == _JOBS
        assert late[PROGRESS] < _JOBS, "it was not too slow, so nothing is shown"
        for line in (stuck, *readers):
            await line.close()

    asyncio.run(_run())


async def _subscribed(port: int, buffer_size: int | None = None) -> ClientConnection:
    """A socket that reads only when asked to, beyond what its buffers take."""
    raw = socket.socket()
    if buffer_size is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
    raw.connect(("127.0.0.1", port))
    raw.setblocking(False)
    line = await connect(f"ws://127.0.0.1:{port}/v1/ws/progress", sock=raw)
    await line.recv()
    await line.send(json.dumps({"type": "subscribe"}))
    assert json.loads(await line.recv())["type"] == "subscription_confirmed"
    return line


def _publish(feed: Feed) -> None:
    for number in range(_JOBS):
        feed.publish(_event(PROGRESS, number, message=_MESSAGE))
    for number in range(_JOBS):
        feed.publish(_event(COMPLETE, number))


def _event(kind: str, number: int, **more: Any) -> FeedEvent:
    return FeedEvent(kind, str(number), {"job_id": str(number), "progress": 0.5, **more})


async def _hear_to_the_end(line: ClientConnection) -> Counter[str]:
    """How many events of each kind came."""
    heard: Counter[str] = Counter()
    while heard[COMPLETE] < _JOBS:
        heard[json.loads(await line.recv())["type"]] += 1
    return heard

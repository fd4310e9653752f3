"""Exports over a real connection: callers that go away, and archives that cannot be finished."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from lora_manager_core.app import create_app
from lora_manager_core.bootstrap import Application, build_application
from lora_manager_core.cli import SERVER_OPTIONS
from lora_manager_core.feed.base import Feed
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from tests.fakes.lora_files import write_lora
from tests.fakes.recorder import Recorder

#: More than the buffers of a connection and of the stream together hold.
LARGE_BYTES = 48 * 2**20


@dataclass
class Served:
    """A stand-alone server on a thread, whose library has a file that no buffer holds."""

    application: Application
    port: int
    library: Path
    feed: Recorder

    def export(self) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/export", json.dumps({}), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return connection, answer


@pytest.fixture
def served(tmp_path: Path, library: Path) -> Iterator[Served]:
    write_lora(library / "a.safetensors")
    (library / "a.png").write_bytes(os.urandom(LARGE_BYTES))
    settings = Settings(data_dir=tmp_path / "data", library_roots=(library,))
    application = build_application(settings)
    app = create_app(application, StandAloneAccess(application.services.get(ApiKeys)))
    options = {**SERVER_OPTIONS, "log_config": None}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    jobs = application.services.get(Jobs)
    scan = application.services.get(LibraryService).start_scan()
    assert jobs.wait(scan.id, 60).status == "succeeded"
    feed = Recorder()
    application.services.get(Feed).subscribe(feed)  # type: ignore[type-abstract]
    yield Served(application, server.servers[0].sockets[0].getsockname()[1], library, feed)
    server.should_exit = True
    thread.join(30)


def test_a_caller_who_goes_away_ends_it(served: Served) -> None:
    connection, answer = served.export()
    assert answer.read(2 * 2**20)

    answer.close()
    connection.close()
    export_id = answer.headers["X-Export-Id"]
    served.feed.wait_for_end(export_id)

    assert served.feed.of(export_id)[-1].data["status"] == "cancelled"
    working = {"archive-stream", "archive-hash"}
    assert not [thread for thread in threading.enumerate() if thread.name in working]
    assert list((served.application.settings.data_dir / "unfinished").iterdir()) == []


def test_one_that_cannot_be_finished_breaks_off(served: Served) -> None:
    connection, answer = served.export()
    assert answer.read(2 * 2**20)
    os.truncate(served.library / "styles" / "Zebra.safetensors", 10)

    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()

    export_id = answer.headers["X-Export-Id"]
    served.feed.wait_for_end(export_id)
    assert served.feed.of(export_id)[-1].data["status"] == "failed"

"""A whole stand-alone application over a small real library, and a client of its API."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lora_manager_core.app import create_app
from lora_manager_core.bootstrap import Application, Parts, build_application
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.feed.base import Feed
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from tests.fakes.backend import FakeBackend
from tests.fakes.lora_files import write_lora
from tests.fakes.recorder import Recorder
from tests.fakes.text_models import NO_EXTRA, FakeEmbedder, FreeTurns


@dataclass
class Home:
    """One running application, its library folder, its backend, and a client on loopback."""

    application: Application
    library: Path
    backend: FakeBackend
    client: TestClient

    def scan(self) -> dict[str, Any]:
        """Scan and give the report; fails the test if the scan fails."""
        jobs = self.application.services.get(Jobs)
        job = jobs.wait(self.application.services.get(LibraryService).start_scan().id, 60)
        assert job.status == "succeeded", (job.status, job.error)
        assert job.result is not None
        return job.result

    def adapters(self, **query: Any) -> list[dict[str, Any]]:
        """Records of `GET /adapters`."""
        answer = self.client.get("/v1/adapters", params={"per_page": 1000, **query})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def adapter(self, name: str) -> dict[str, Any]:
        """The record of that name."""
        found = [record for record in self.adapters() if record["name"] == name]
        assert len(found) == 1, [record["name"] for record in self.adapters()]
        return found[0]

    def socket(self, path: str = "/v1/ws/progress", **headers: str) -> Any:
        """A socket of the API; use it in a `with`."""
        return self.client.websocket_connect(f"ws://127.0.0.1:7862{path}", headers=headers)

    def record_feed(self) -> Recorder:
        """Everything the feed tells from now on."""
        recorder = Recorder()
        self.application.services.get(Feed).subscribe(recorder)
        return recorder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Three LoRAs in two folders."""
    folder = tmp_path / "library"
    write_lora(folder / "characters" / "alice.safetensors", {"ss_output_name": "x"}, seed=1)
    write_lora(folder / "styles" / "ink.v2.safetensors", seed=2)
    write_lora(folder / "styles" / "Zebra.safetensors", width=2048, seed=3)
    return folder


@pytest.fixture
def make_home(database_url: str, tmp_path: Path, library: Path) -> Iterator[Callable[..., Home]]:
    """Build a started application; keyword arguments are settings.

    Its text model is `text_model`, by default one whose extra is not installed.
    """
    opened: list[TestClient] = []

    def _make(text_model: FakeEmbedder | None = None, **settings: Any) -> Home:
        backend = FakeBackend()
        model = text_model or FakeEmbedder(absent=NO_EXTRA)
        application = build_application(
            Settings(
                **{
                    "data_dir": tmp_path / "data",
                    "database_url": database_url,
                    "library_roots": (library,),
                    "import_path": tmp_path / "loras",
                    "watch": False,  # or a scan of a test may find that it is done already
                    **settings,
                }
            ),
            Parts(
                backends=lambda _database: [backend],
                text_tiers=TextTiers(model),
                turns=FreeTurns(),
            ),
        )
        access = StandAloneAccess(application.services.get(ApiKeys))
        client = TestClient(create_app(application, access), base_url="http://127.0.0.1:7862")
        client.__enter__()
        opened.append(client)
        home = Home(application, library, backend, client)
        if application.services.get(LibraryService).has_roots:
            home.scan()
        return home

    yield _make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    """A started application whose library was scanned."""
    return make_home()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no `mount` command")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems can be mounted by root only")
    yield folder
    subprocess.run(["umount", folder], check=True)

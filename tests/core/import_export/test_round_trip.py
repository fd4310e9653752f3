"""What went out comes back: any library with any people's data, field by field.

Through the API: from one server to an empty one with other folders, from SQLite to PostgreSQL and
back, and from a backup onto the same server after all kinds of changes.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from starlette.testclient import TestClient

from lora_manager_core.app import create_app
from lora_manager_core.bootstrap import Parts, build_application
from lora_manager_core.db.models import Adapter, Job
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS
from lora_manager_core.library.service import SCAN_JOB
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from tests.any_library import libraries
from tests.fakes.backend import FakeBackend
from tests.libraries import Library, build, empty, insert_rows
from tests.library_state import State, read_state

pytestmark = pytest.mark.timeout(600)

_PATIENCE_S = 30.0
#: Everything that can be chosen.
_ALL = {"generations": True, "user_data": True, "analytics": True, "system_config": True}
_passwords = st.none() | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20
)


def _examples(count: int) -> Callable[[Any], Any]:
    """Always the same ones, so that a run says the same as the one before."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class Server:
    """A server with folders of its own, and a client of its API."""

    def __init__(self, folder: Path, url: str) -> None:
        self.root = folder / "library"
        self.outputs = folder / "pictures"
        self.root.mkdir(parents=True)
        self.application = build_application(
            Settings(
                data_dir=folder / "data",
                database_url=url,
                library_roots=(self.root,),
                import_path=self.root,
                output_dir=self.outputs,
                backup_every_h=0,
            ),
            Parts(backends=lambda _database: [FakeBackend()]),
        )
        access = StandAloneAccess(self.application.services.get(ApiKeys))
        app = create_app(self.application, access)
        self.client = TestClient(app, base_url="http://127.0.0.1:7862")
        self.client.__enter__()

    def close(self) -> None:
        """Stop it."""
        self.client.__exit__(None, None, None)

    def begin(self, library: Library | None = None) -> None:
        """Hold this library and nothing else."""
        self.wait_for_scans()
        for folder in (self.root, self.outputs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        with self.application.database.write() as session:
            empty(session)
        if library is not None:
            build(library, self.application.database, self.root, self.outputs)

    def state(self) -> State:
        """What it holds, once nothing works on it any more."""
        self.wait_for_scans()
        return read_state(self.application.database, [self.root])

    def export(self, password: str | None = None, **contents: Any) -> bytes:
        """An archive of everything."""
        body = {**_ALL, **contents, "encrypt": password is not None, "password": password}
        answer = self.client.post("/v1/import-export/export", json=body)
        assert answer.status_code == 200, answer.text
        return answer.content

    def take_in(self, archive: bytes, **config: Any) -> Mapping[str, Any]:
        """Import an archive; gives what became of it."""
        scans = self._scans()
        wishes = {"allow_pickles": True, "backup_before": False, **config}
        answer = self.client.post(
            "/v1/import-export/import",
            files=[("files", ("archive.zip", archive))],
            data={"config": json.dumps(wishes)},
        )
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()["results"]
        assert result["status"] == "imported", result
        if result["created"] or result["tables"]:
            self._wait_for_scan_after(scans)
        return dict(result)

    def back_up(self, password: str | None) -> str:
        """Make a full backup; gives its id."""
        body = {"backup_type": "full", "encrypt": password is not None, "password": password}
        answer = self.client.post("/v1/import-export/backup/create", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["backup_id"])

    def restore(self, backup_id: str, password: str | None) -> None:
        """Bring a backup back."""
        scans = self._scans()
        answer = self.client.post(
            f"/v1/import-export/backups/{backup_id}/restore",
            json={"password": password, "backup_before": False},
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"], answer.text
        self._wait_for_scan_after(scans)

    def _scans(self) -> set[str]:
        with self.application.database.read() as session:
            return set(session.scalars(select(Job.id).where(Job.kind == SCAN_JOB)))

    def _wait_for_scan_after(self, earlier: set[str]) -> None:
        """It is asked for after the commit, which others may see before."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while not self._scans() - earlier:
            assert time.monotonic() < give_up_at, "no scan follows"
            time.sleep(0.005)

    def wait_for_scans(self) -> None:
        """Until none waits or runs."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while True:
            with self.application.database.read() as session:
                if not JobStore(session).list_unfinished([SCAN_JOB]):
                    return
            assert time.monotonic() < give_up_at, "a scan does not end"
            time.sleep(0.01)


MakeServer = Callable[[str], Server]


@pytest.fixture
def make_server(make_database_url: Callable[[str], str], tmp_path: Path) -> Iterator[MakeServer]:
    """Starts servers, each with a database of the given kind."""
    servers: list[Server] = []

    def _make(kind: str) -> Server:
        servers.append(Server(tmp_path / f"server{len(servers)}", make_database_url(kind)))
        return servers[-1]

    yield _make
    for server in servers:
        server.close()


_KINDS = pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)


@_KINDS
def test_an_export_is_the_same_on_an_empty_server(make_server: MakeServer, kind: str) -> None:
    source, target = make_server(kind), make_server(kind)

    @_examples(25)
    @given(libraries(), _passwords)
    def _is_the_same(library: Library, password: str | None) -> None:
        source.begin(library)
        target.begin()
        before = source.state()

        result = target.take_in(source.export(password), password=password)

        assert target.state().differences(before) == []
        assert source.state().differences(before) == []
        assert result["created"] == len(library.records)

    _is_the_same()


@pytest.mark.postgres
def test_from_one_kind_of_database_to_the_other_and_back(make_server: MakeServer) -> None:
    first, second, third = make_server("sqlite"), make_server("postgres"), make_server("sqlite")

    @_examples(12)
    @given(libraries())
    def _is_the_same(library: Library) -> None:
        first.begin(library)
        second.begin()
        third.begin()

        second.take_in(first.export())
        third.take_in(second.export())

        assert second.state().differences(first.state()) == []
        assert third.state().differences(first.state()) == []

    _is_the_same()


@_KINDS
def test_importing_it_again_changes_nothing(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind)

    @_examples(8)
    @given(libraries())
    def _nothing_changes(library: Library) -> None:
        server.begin(library)
        before = server.state()

        result = server.take_in(server.export())

        assert server.state().differences(before) == []
        assert (result["created"], result["files_written"]) == (0, 0)
        assert result["unchanged"] == len(library.records)

    _nothing_changes()


@_KINDS
def test_a_restore_brings_back_what_was(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind)

    @_examples(15)
    @given(libraries(), libraries(most_files=1), _passwords, st.data())
    def _comes_back(
        library: Library, other: Library, password: str | None, data: st.DataObject
    ) -> None:
        server.begin(library)
        before = server.state()
        backup_id = server.back_up(password)

        _change_files(server, data)
        if data.draw(st.booleans(), "all rows are others"):
            _replace_rows(server, other)
        else:
            _change_records(server, other)
        server.restore(backup_id, password)

        assert server.state().differences(before) == []
        assert server.client.delete(f"/v1/import-export/backups/{backup_id}").status_code == 204

    _comes_back()


def _change_files(server: Server, data: st.DataObject) -> None:
    """Some files are lost, some are replaced by others; one with the same bytes would just stay."""
    for path in sorted(path for path in server.root.rglob("*") if path.is_file()):
        choices = ["keep", "lose", "replace"]
        if path.stat().st_size:
            choices.append("replace by as many bytes")
        what = data.draw(st.sampled_from(choices))
        if what == "lose":
            path.unlink()
        elif what == "replace":
            path.write_bytes(b"something else")
        elif what == "replace by as many bytes":
            path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


def _replace_rows(server: Server, other: Library) -> None:
    with server.application.database.write() as session:
        empty(session)
        insert_rows(session, other, server.root, server.outputs)


def _change_records(server: Server, other: Library) -> None:
    """As many records as `other` has take everything but their names from them."""
    taken = [name for name in RECORD_COLUMNS if name not in ("id", "name", "version")]
    with server.application.database.write() as session:
        ids = [row.id for row in session.query(Adapter.id).order_by(Adapter.pk)]
        for adapter_id, (_, told) in zip(ids, other.records, strict=False):
            changed = {name: told[name] for name in taken}
            session.execute(update(Adapter).where(Adapter.id == adapter_id).values(**changed))

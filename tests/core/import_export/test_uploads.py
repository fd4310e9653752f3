"""Multipart bodies go to the disk as they come, and nothing stays of those that fail."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from lora_manager_core.web.deps import ServiceRegistry
from lora_manager_core.web.errors import add_error_handlers
from lora_manager_core.web.limits import BodyLimitMiddleware
from lora_manager_core.web.uploads import ReceivedUpload, Upload, UploadFolder

_BOUNDARY = "----abc"
_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def app(uploads: Path) -> FastAPI:
    """Answers with what came; keeps the files whose part asks for it by its name."""
    app = FastAPI()
    app.state.services = ServiceRegistry()
    app.state.services.add(UploadFolder(uploads))
    add_error_handlers(app)
    app.add_middleware(BodyLimitMiddleware, max_bytes=1000, uploads=("/import",))

    @app.post("/import")
    @app.post("/other")
    def take(
        upload: Annotated[Upload, Depends(ReceivedUpload(("files",), ("config",)))],
    ) -> dict[str, Any]:
        sizes = {file.name: file.path.stat().st_size for file in upload.files}
        assert all(file.path.parent == uploads for file in upload.files)
        upload.files = [file for file in upload.files if file.name != "kept"]
        return {"sizes": sizes, "fields": {k: v.decode() for k, v in upload.fields.items()}}

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def _left(uploads: Path) -> list[str]:
    return sorted(path.name for path in uploads.iterdir()) if uploads.exists() else []


def _part(headers: str, content: bytes = b"x") -> bytes:
    return f"--{_BOUNDARY}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"


_END = f"--{_BOUNDARY}--\r\n".encode()
_FILE = 'Content-Disposition: form-data; name="files"; filename="a.zip"'


class TestWhatComes:
    def test_files_and_fields(self, client, uploads):
        files = [("files", ("a.zip", os.urandom(3_000_000))), ("files", ("kept", b"xyz"))]
        answer = client.post("/import", files=files, data={"config": '{"mode": "merge"}'})

        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "sizes": {"a.zip": 3_000_000, "kept": 3},
            "fields": {"config": '{"mode": "merge"}'},
        }
        assert [(uploads / name).read_bytes() for name in _left(uploads)] == [b"xyz"]

    def test_a_name_with_a_path_is_only_shown(self, client, tmp_path):
        answer = client.post("/import", files=[("files", ("../../evil.zip", b"x"))])
        assert answer.status_code == 200, answer.text
        assert not list(tmp_path.rglob("*evil*"))
        assert not list(tmp_path.parent.glob("*evil*"))

    def test_no_part_at_all(self, client):
        answer = client.post("/import", content=_END, headers={"Content-Type": _TYPE})
        assert answer.json() == {"sizes": {}, "fields": {}}

    def test_what_follows_the_end_means_nothing(self, client):
        body = _part(_FILE) + _END + b"epilogue" * 200_000
        answer = client.post("/import", content=body, headers={"Content-Type": _TYPE})
        assert answer.json()["sizes"] == {"a.zip": 1}


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "says"),
        [
            pytest.param(b"nothing of the kind", "broken", id="no-boundary"),
            pytest.param(_part(_FILE), "cut off", id="no-end"),
            pytest.param(_part(_FILE)[:-30], "cut off", id="in-a-header"),
            pytest.param(b"", "cut off", id="empty"),
            pytest.param(_part("X-Other: 1") + _END, "no name", id="no-disposition"),
            pytest.param(
                _part("Content-Disposition: form-data; name=other") + _END, "none of", id="unknown"
            ),
            pytest.param(
                _part("Content-Disposition: form-data; name=config") * 2 + _END,
                "more than one",
                id="two-configs",
            ),
            pytest.param(_part(_FILE) * 1001 + _END, "at most 1000 parts", id="many-parts"),
            pytest.param(_part(_FILE + "\r\nX: " + "y" * 100_000) + _END, "broken", id="header"),
            pytest.param(_part(_FILE + "\r\nX: y" * 1000) + _END, "broken", id="many-headers"),
        ],
    )
    def test_a_broken_body(self, client, uploads, body, says):
        answer = client.post("/import", content=body, headers={"Content-Type": _TYPE})
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] == "invalid_request"
        assert says in answer.json()["detail"]
        assert _left(uploads) == []

    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            pytest.param("application/json", 415, id="json"),
            pytest.param("multipart/form-data", 400, id="without-boundary"),
            pytest.param("multipart/form-data; boundary=" + "x" * 500, 400, id="long-boundary"),
        ],
    )
    def test_another_type(self, client, kind, status):
        answer = client.post("/import", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"

    def test_fields_that_are_too_large(self, client, uploads):
        field = 'Content-Disposition: form-data; name="config"'
        body = _part(_FILE) + _part(field, b"x" * (8 * 2**20 + 1)) + _END
        answer = client.post("/import", content=body, headers={"Content-Type": _TYPE})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert _left(uploads) == []

    def test_other_routes_keep_their_bound(self, client):
        answer = client.post("/other", files=[("files", ("a.zip", b"x" * 2000))])
        assert answer.status_code == 413


class TestDisk:
    @pytest.fixture
    def uploads(self, small_disk: Path) -> Path:
        return small_disk / "uploads"

    def test_a_length_beyond_the_room_is_refused_at_once(self, client, uploads):
        answer = client.post("/import", files=[("files", ("a.zip", bytes(100_000)))])
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert _left(uploads) == []

    def test_an_unknown_length_beyond_the_room(self, client, uploads):
        def _pieces() -> Iterator[bytes]:
            yield _part(_FILE, b"")[:-2]
            for _ in range(100):
                yield bytes(1000)
            yield b"\r\n" + _END

        answer = client.post("/import", content=_pieces(), headers={"Content-Type": _TYPE})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert _left(uploads) == []


def test_a_client_that_goes_away_leaves_nothing(app, uploads):
    seen: list[list[str]] = []

    async def _run() -> list[dict[str, Any]]:
        pieces = iter([_part(_FILE, b"") + bytes(3_000_000)])
        sent: list[dict[str, Any]] = []

        async def _receive() -> dict[str, Any]:
            piece = next(pieces, None)
            if piece is None:
                seen.append(_left(uploads))
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": piece, "more_body": True}

        async def _send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/import",
            "raw_path": b"/import",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", _TYPE.encode())],
            "app": app,
        }
        await app(scope, _receive, _send)
        return sent

    sent = asyncio.run(_run())

    assert len(seen[0]) == 1  # it was being written
    assert _left(uploads) == []
    assert sent[0]["status"] == 400


def test_leftovers_go_unless_a_job_needs_them(uploads):
    folder = UploadFolder(uploads)
    paths = [folder.new() for _ in range(3)]
    for path in paths:
        path.write_bytes(b"x")
    old = time.time() - 2 * 3600
    for path in paths[:2]:
        os.utime(path, (old, old))

    folder.remove_leftovers({paths[0].name})

    assert _left(uploads) == sorted([paths[0].name, paths[2].name])

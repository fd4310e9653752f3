"""Sends archives to a home, and tells whether anything there changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from lora_manager_core.db.models import Base, Job, JobAttempt
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.base import LIBRARY_LANE
from tests.core.conftest import Home
from tests.fakes.sample_archives import Members, dump, own_members, sealed, write_zip

_PATIENCE_S = 30.0
#: What only work, not people, changes.
_COUNTED = (
    "counters",
    "adapters_fts",
    "recommendation_sessions",
    "text_vectors",
    "weight_sketches",
)


def export(home: Home, **choice: Any) -> bytes:
    """An archive of a home."""
    answer = home.client.post("/v1/export", json=choice)
    assert answer.status_code == 200, answer.text
    return bytes(answer.content)


def zipped(folder: Path, members: Members) -> bytes:
    """An ordinary ZIP of them."""
    return write_zip(folder / "made.zip", members).read_bytes()


def sample_with(folder: Path, **tables: list[dict[str, Any]]) -> bytes:
    """The sample archive with other rows in these tables."""
    members = own_members()
    for name, its_rows in tables.items():
        members[f"tables/{name}.jsonl"] = b"".join(dump(row) + b"\n" for row in its_rows)
    return zipped(folder, sealed(members))


def stored(home: Home, table: str) -> list[dict[str, Any]]:
    """The rows that a table of a home has."""
    return [json.loads(row) for row in rows(home.application.database)[table]]


def send(home: Home, *archives: bytes, **config: Any) -> dict[str, Any]:
    """The answer of an import of these archives; no backup is made unless `config` says so."""
    answer = home.client.post(
        "/v1/import-export/import",
        files=[("files", (f"{n}.zip", content)) for n, content in enumerate(archives)],
        data={"config": json.dumps({"backup_before": False, **config})},
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def send_in_background(home: Home, *archives: bytes, **config: Any) -> dict[str, Any]:
    """The answer of an import whose jobs go on."""
    answer = home.client.post(
        "/v1/import",
        files=[("files", (f"{n}.zip", content)) for n, content in enumerate(archives)],
        data={"config": json.dumps({"backup_before": False, "background": True, **config})},
    )
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def take_in(home: Home, archive: bytes, **config: Any) -> dict[str, Any]:
    """The result of the import of one archive, which succeeds."""
    answer = send(home, archive, **config)
    assert answer["success"], answer
    return dict(answer["results"][0])


def rows(database: Database) -> dict[str, Any]:
    """Every row that people would miss, as text, by table."""
    with database.read() as session:
        mine = set(session.scalars(select(Job.id).where(Job.lane == LIBRARY_LANE)))
        found = {}
        for name, table in Base.metadata.tables.items():
            if name not in _COUNTED:
                listed = [dict(row) for row in session.execute(select(table)).mappings()]
                if name == Job.__tablename__:
                    listed = [row for row in listed if row["id"] not in mine]
                if name == JobAttempt.__tablename__:
                    listed = [row for row in listed if row["job_id"] not in mine]
                found[name] = sorted(json.dumps(row, sort_keys=True) for row in listed)
    return found


def tree(*folders: Path) -> dict[str, tuple[bytes, int]]:
    """Contents and time stamp of every file, hidden ones included."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def everything(home: Home) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """All rows, and all files of library, import folder, pictures, uploads and journals."""
    settings = home.application.settings
    folders = [home.library, settings.import_path, settings.outputs]
    folders += [settings.data_dir / name for name in ("uploads", "journals", "secrets")]
    return rows(home.application.database), tree(*folders)


def ended(home: Home, job_id: str) -> dict[str, Any]:
    """An archive job, once it has ended."""
    job: dict[str, Any] = {}

    def _look() -> bool:
        job.update(home.client.get(f"/v1/import-export/jobs/{job_id}").json())
        return job["finished_at"] is not None

    wait_until(_look)
    return job


def wait_until(claim: Callable[[], bool]) -> None:
    """Wait until something is so; fails the test if it never is."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not claim():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)

"""Whether an archive holds what it says: every byte of it is read, and the database asked."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from lora_manager_core.errors import ArchiveRefused, PasswordNeeded, WrongPassword
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.format import DATABASE
from lora_manager_core.import_export.archive.reader import open_archive
from lora_manager_core.import_export.schemas import Verification


def verify_archive(
    path: Path,
    password: str | None,
    scratch: Path,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> Verification:
    """Read everything and compare it with its hashes; `scratch` is a folder for what is unpacked.

    Raises:
        PasswordNeeded, WrongPassword: it cannot be read without, or with that.
        OSError: the file cannot be read.
    """
    began, members, read, problem = time.perf_counter(), 0, 0, None

    def _counted(count: int) -> None:
        nonlocal read
        read += count
        on_bytes(count)

    try:
        with open_archive(path, password, allow_pickles=True) as archive:
            members = len(archive.members())
            archive.verify(_counted)
            problem = _problem_of_rows(archive) or _problem_of_database(archive, scratch)
    except (PasswordNeeded, WrongPassword):
        raise
    except ArchiveRefused as refused:
        problem = refused.detail
    return Verification(
        ok=problem is None,
        problem=problem,
        members=members,
        bytes_read=read,
        duration_s=round(time.perf_counter() - began, 3),
    )


def _problem_of_rows(archive: Archive) -> str | None:
    """Records and rows are read as a restore would; what is wrong is raised as a refusal."""
    for _ in archive.adapters():
        pass
    for table in archive.tables():
        for _ in archive.rows(table):
            pass
    return None


def _problem_of_database(archive: Archive, scratch: Path) -> str | None:
    """What SQLite says of the copy of the database, if there is one."""
    if DATABASE not in archive.members():
        return None
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "copy.sqlite3"
        archive.copy(DATABASE, copy, lambda _count: None)
        try:
            with closing(sqlite3.connect(copy)) as database:
                found = [row[0] for row in database.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
    return None if found == ["ok"] else f"The copy of the database is damaged: {found[0]}."

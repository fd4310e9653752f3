"""Where `archives_crash` lets a server work: folders and a database that can be brought back."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from killable import ROOT, Server
from sqlalchemy import create_engine, make_url, text

from lora_manager_core.common.file_journal import read_journal
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.import_export.imports.staging import STAGING_FOLDER

sys.path[:0] = [str(ROOT)]

from tests.library_state import State, read_state  # noqa: E402 - beside the benchmarks

#: What a dead process leaves in these folders is removed once it is older than a day.
_AGED_S = 2 * 24 * 3600.0


class Place:
    """The server's folders and database, and a copy of its old state to go back to."""

    def __init__(self, folder: Path, postgres: str | None) -> None:
        self.folder = folder / "now"
        self._kept = folder / "kept"
        self._postgres = postgres
        self.library = self.folder / "library"
        self.data = self.folder / "data"
        self.url = f"sqlite:///{(self.folder / 'lora-manager.sqlite3').as_posix()}"
        if postgres:
            self.url = make_url(postgres).set(database="now").render_as_string(hide_password=False)
            self._sql("CREATE DATABASE now")
        self.library.mkdir(parents=True)
        self.data.mkdir()
        self.server = Server(
            self.data,
            self.url,
            ["--library", str(self.library)],
            {"LORA_MANAGER_IMPORT_PATH": str(self.library)},
        )
        self.keep()

    def keep(self) -> None:
        """What is there now is the old state; the server is stopped."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.folder, self._kept)
        if self._postgres:
            self._sql("DROP DATABASE IF EXISTS kept", "CREATE DATABASE kept TEMPLATE now")

    def go_back(self) -> None:
        """To the old state; the server is stopped."""
        shutil.rmtree(self.folder)
        shutil.copytree(self._kept, self.folder)
        if self._postgres:
            self._sql("DROP DATABASE now", "CREATE DATABASE now TEMPLATE kept")

    def state(self) -> State:
        """Rows, files and pictures as they are, without what only tells when it was done."""
        database = Database(self.url)
        try:
            state = read_state(database, [self.library]).timeless()
        finally:
            database.close()
        files = {path: file for path, file in state.files.items() if STAGING_FOLDER not in path}
        return replace(state, files=files)

    def leftovers(self) -> list[str]:
        """What nobody needs any more: staged files, journals, uploads, secrets, unfinished ones."""
        folders = ("journals", "uploads", "secrets", "unfinished", "backups/.unfinished")
        found = list(self.library.rglob(STAGING_FOLDER))
        for name in folders:
            if (self.data / name).exists():
                found += [path for path in (self.data / name).rglob("*") if path.is_file()]
        return [str(path.relative_to(self.folder)) for path in found]

    def is_asked(self) -> bool:
        """At once: the work begins when it is asked for."""
        return True

    def stages(self) -> bool:
        """Whether files are being staged, or moved."""
        return any((self.data / "journals").glob("*.json"))

    def moves(self) -> bool:
        """Whether staged files take the places of others, or are about to."""
        journals = (self.data / "journals").glob("*.json")
        return any(journal.moves for path in journals if (journal := read_journal(path)))

    def let_time_pass(self) -> None:
        """Make what lies there old enough to be removed, if nobody needs it."""
        then = time.time() - _AGED_S
        for path in self.data.rglob("*"):
            with suppress(OSError):
                os.utime(path, (then, then))

    def _sql(self, *statements: str) -> None:
        assert self._postgres
        url = make_url(self._postgres).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

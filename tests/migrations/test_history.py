"""The alembic history gives exactly the models, both ways, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

import lora_manager_core.db.migrate
from lora_manager_core.db.engine import WRITE_OPTION
from lora_manager_core.db.models import Base
from lora_manager_core.db.unit_of_work import Database
from tests.conftest import DATABASES

# `_indexes` compares those.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{told} expression-based index")
    for told in ("autogenerate skipping metadata-specified", "Skipped unsupported reflection of")
]

#: What the revisions make by hand for search; the models do not know it.
_SEARCH_TABLES = "adapters_fts"
_SEARCH_INDEX = "ix_adapters_search_text"
_INDEXES = {
    True: "SELECT name, sql FROM sqlite_master WHERE type = 'index'",
    False: "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema",
}


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, make_database_url: Callable[..., str]) -> str:
    """The URL of a database that is to be brought up to date."""
    return make_database_url(request.param, empty=True)


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    """A database without any table."""
    database = Database(database_url)
    yield database
    database.close()


def _config(connection: Connection) -> Config:
    migrations = Path(lora_manager_core.db.migrate.__file__).with_name("migrations")
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _downgrade(database: Database, revision: str) -> None:
    with database.engine.execution_options(**{WRITE_OPTION: True}).begin() as connection:
        command.downgrade(_config(connection), revision)


def _tables(database: Database) -> set[str]:
    return {
        name
        for name in inspect(database.engine).get_table_names()
        if not name.startswith(_SEARCH_TABLES)
    }


def _is_in_models(_object: object, name: str | None, kind: str, *_: object) -> bool:
    # Alembic cannot compare indexes over expressions; `_indexes` compares all of them.
    return kind != "index" and not str(name).startswith(_SEARCH_TABLES)


def _indexes(database: Database) -> dict[str, str]:
    """Every index by name, with the statement that makes it."""
    with database.engine.connect() as connection:
        rows = connection.execute(text(_INDEXES[database.is_sqlite])).all()
    return {name: sql for name, sql in rows if name not in (_SEARCH_INDEX, "alembic_version_pkc")}


def _differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_object": _is_in_models,
            },
        )
        return list(compare_metadata(context, Base.metadata))


class TestUpgrade:
    def test_from_nothing_gives_exactly_the_models(self, empty: Database) -> None:
        empty.upgrade()

        assert _differences(empty) == [], (
            "The models and the history differ. Add a revision in db/migrations/versions that "
            "makes these changes; never edit a revision that was released."
        )

    def test_from_nothing_gives_exactly_the_indexes_of_the_models(self, empty: Database) -> None:
        empty.upgrade()
        by_history = _indexes(empty)
        _downgrade(empty, "base")
        Base.metadata.create_all(empty.engine)

        assert by_history == _indexes(empty)

    def test_twice_changes_nothing(self, empty: Database) -> None:
        empty.upgrade()
        with empty.write() as session:
            session.execute(text("UPDATE counters SET value = 42"))

        empty.upgrade()

        with empty.read() as session:
            assert session.scalars(text("SELECT DISTINCT value FROM counters")).all() == [42]

    def test_by_two_processes_at_once_succeeds_in_both(
        self, database_url: str, empty: Database
    ) -> None:
        program = (
            "import sys; from lora_manager_core.db.unit_of_work import Database\n"
            "database = Database(sys.argv[1])\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "database.upgrade(); database.close()\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, database_url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outcomes = [
            (process.communicate(timeout=60)[1], process.returncode) for process in processes
        ]

        assert outcomes == [("", 0), ("", 0)]
        assert _differences(empty) == []


class TestDowngrade:
    def test_to_nothing_leaves_no_table_of_ours(self, empty: Database) -> None:
        empty.upgrade()

        _downgrade(empty, "base")

        assert _tables(empty) == {"alembic_version"}

    def test_and_up_again_gives_the_models(self, empty: Database) -> None:
        empty.upgrade()
        _downgrade(empty, "base")

        empty.upgrade()

        assert _differences(empty) == []


class TestSearchTableOfSqlite:
    @pytest.fixture
    def upgraded(self, tmp_path: Path) -> Iterator[Database]:
        database = Database(f"sqlite:///{(tmp_path / 'search.sqlite3').as_posix()}")
        database.upgrade()
        yield database
        database.close()

    def test_follows_updates_and_deletes_of_what_it_holds(self, upgraded: Database) -> None:
        find = text("SELECT rowid FROM adapters_fts WHERE adapters_fts MATCH :words")

        def found(words: str) -> list[int]:
            with upgraded.read() as session:
                return list(session.execute(find, {"words": words}).scalars())

        columns = inspect(upgraded.engine).get_columns("adapters")
        values = {
            str(column["name"]): 0 if column["type"].python_type in (int, float, bool) else ""
            for column in columns
            if not column["nullable"]
        }
        values |= {"pk": 1, "search_text": "amber watercolor"}
        names = ", ".join(values)
        with upgraded.write() as session:
            session.execute(
                text(f"INSERT INTO adapters ({names}) VALUES (:{names.replace(', ', ', :')})"),
                values,
            )
            # New rows are indexed by whoever adds them, once for a whole batch.
            session.execute(
                text(
                    "INSERT INTO adapters_fts(rowid, search_text) "
                    "SELECT pk, search_text FROM adapters"
                )
            )
        assert found("watercol") == [1]

        with upgraded.write() as session:
            session.execute(text("UPDATE adapters SET search_text = 'ink portrait'"))
        assert (found("watercol"), found("portra")) == ([], [1])

        with upgraded.write() as session:
            session.execute(text("DELETE FROM adapters"))
        assert found("portra") == []


class TestResultsOfOlderJobs:
    def test_are_kept_and_can_be_searched(self, empty: Database) -> None:
        empty.upgrade()
        _downgrade(empty, "0001")
        with empty.write() as session:
            session.execute(
                text(
                    "INSERT INTO jobs (id, kind, lane, status, payload, cancel_requested, progress,"
                    " attempts, created_at, finished_at) VALUES ('a', 'generation', 'gpu',"
                    " 'succeeded', :payload, false, 1, 1, '2026-01-01', '2026-01-02')"
                ),
                {"payload": '{"params": {"prompt": "A Fox at \\"dusk\\""}}'},
            )
            session.execute(
                text(
                    "INSERT INTO result_images (job_id, number, file_path, width, height, seed,"
                    " infotext, created_at) VALUES ('a', 0, '/x.png', 8, 8, 1, '', '2026-01-02')"
                )
            )

        empty.upgrade()

        with empty.read() as session:
            results = session.execute(
                text("SELECT job_id, finished_at, is_favorite, prompt_key FROM results")
            )
            assert [tuple(row) for row in results] == [
                ("a", "2026-01-02", False, 'a fox at "dusk"')
            ]

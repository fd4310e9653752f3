"""PostgreSQL databases that tests borrow: made once, emptied after each test, dropped at the end.

Emptying one is several times as quick as making one, which is 350 files, and its first connection.
A database whose tables a test changed is dropped instead.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from sqlalchemy.engine import URL, make_url

#: How long sessions that are told to end may take.
_ENDED_WITHIN_S = 10.0

# What any change of tables, columns, indexes, constraints, triggers or functions changes.
_SCHEMA = """
SELECT (
    SELECT concat_ws(' ', count(*), max(oid), sum(hashtext(relname)), sum(relnatts), sum(relchecks))
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
), (
    SELECT concat_ws(' ', count(*), sum(hashtext(attname)), sum(atttypid::bigint),
        count(*) FILTER (WHERE attnotnull), count(*) FILTER (WHERE atthasdef))
    FROM pg_attribute WHERE attrelid >= 16384
), (
    SELECT concat_ws(' ', count(*), max(oid)) FROM pg_constraint WHERE oid >= 16384
), (
    SELECT concat_ws(' ', count(*), max(oid), count(*) FILTER (WHERE tgenabled = 'O'))
    FROM pg_trigger
), (
    SELECT concat_ws(' ', count(*), max(oid), sum(hashtext(prosrc)))
    FROM pg_proc WHERE oid >= 16384
)
"""
# An emptied table has no pages; one that was written to has, even if nothing is left in it.
_WRITTEN = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
"""
_RESET_SEQUENCES = """
SELECT setval(seqrelid, seqstart, false) FROM pg_sequence
WHERE pg_sequence_last_value(seqrelid) IS NOT NULL
"""


@dataclass(frozen=True)
class _AsNew:
    """What an emptied database must be like: its tables, and the rows a new one has."""

    schema: tuple[Any, ...]
    rows: dict[str, list[dict[str, Any]]]


class PostgresDatabases:
    """Lends databases of one server; used by one test run."""

    def __init__(self, server: str, migrate: Callable[[str], None]) -> None:
        """`migrate` brings the database of a URL up to the newest schema."""
        self._server = make_url(server)
        self._migrate = migrate
        self._template: str | None = None
        self._as_new: _AsNew | None = None
        self._ready: list[str] = []
        #: Connections to the databases that can be emptied; None is the server's own.
        self._connections: dict[str | None, sqlalchemy.Connection] = {}

    def url(self, name: str) -> str:
        """The URL of a database, as a setting names it."""
        return self._server.set(database=name).render_as_string(hide_password=False)

    def borrow(self, *, empty: bool = False) -> str:
        """The name of a database with the newest schema and no rows; or with nothing at all."""
        if not empty and self._ready:
            return self._ready.pop()
        name = f"test_{uuid.uuid4().hex}"
        template = "template1" if empty else self._template or self._make_template()
        self._connected().exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        if not empty:
            self._connected(name)
        return name

    def give_back(self, name: str) -> None:
        """End what is still connected and empty it, or drop it; tells who left a transaction."""
        emptiable = name in self._connections
        connection = self._connected(name if emptiable else None)
        left = _end_sessions(connection, name)
        if emptiable and self._emptied(connection):
            self._ready.append(name)
        else:
            self._drop(name)
        assert not left, "the test left a transaction open"

    def close(self) -> None:
        """Drop all that are not lent."""
        for name in self._ready:
            self._drop(name)
        if self._template:
            self._drop(self._template)
        for connection in self._connections.values():
            connection.close()

    def _make_template(self) -> str:
        name = f"migrated_{uuid.uuid4().hex}"
        self._connected().exec_driver_sql(f"CREATE DATABASE {name}")
        self._template = name
        self._migrate(self.url(name))
        migrated = self._connected(name)
        schema = tuple(migrated.exec_driver_sql(_SCHEMA).one())
        tables = migrated.exec_driver_sql(_WRITTEN).scalars().all()
        rows = {table: _rows(migrated, table) for table in tables}
        self._connections.pop(name).close()  # no database is copied that somebody uses
        self._as_new = _AsNew(schema, {table: kept for table, kept in rows.items() if kept})
        return name

    def _emptied(self, connection: sqlalchemy.Connection) -> bool:
        """Make it as new; False where that cannot be done because its tables are others."""
        new = self._as_new
        assert new is not None
        if tuple(connection.exec_driver_sql(_SCHEMA).one()) != new.schema:
            return False
        written = set(connection.exec_driver_sql(_WRITTEN).scalars())
        changed = {table for table, rows in new.rows.items() if _rows(connection, table) != rows}
        emptied = (written - new.rows.keys()) | (changed & written)
        if emptied:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(sorted(emptied))} CASCADE")
        connection.exec_driver_sql(_RESET_SEQUENCES)
        for table in changed:
            columns = ", ".join(new.rows[table][0])
            values = ", ".join(f":{column}" for column in new.rows[table][0])
            insert = f"INSERT INTO {table} ({columns}) VALUES ({values})"
            connection.execute(sqlalchemy.text(insert), new.rows[table])
        return True

    def _drop(self, name: str) -> None:
        if name in self._connections:
            self._connections.pop(name).close()
        self._connected().exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _connected(self, name: str | None = None) -> sqlalchemy.Connection:
        """The connection to a database, or to the server's own for making and dropping others."""
        if name not in self._connections:
            url: URL = self._server.set(drivername="postgresql+psycopg")
            engine = sqlalchemy.create_engine(
                url if name is None else url.set(database=name),
                isolation_level="AUTOCOMMIT",
                poolclass=sqlalchemy.NullPool,
            )
            self._connections[name] = engine.connect()
        return self._connections[name]


def _rows(connection: sqlalchemy.Connection, table: str) -> list[dict[str, Any]]:
    found = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").mappings()
    return [dict(row) for row in found]


def _end_sessions(connection: sqlalchemy.Connection, name: str) -> bool:
    """End the other sessions of a database; whether one of them had left a transaction open."""
    where = f"FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    left = connection.exec_driver_sql(
        f"SELECT count(*) {where} AND starts_with(state, 'idle in transaction')"
    ).scalar_one()
    deadline = time.monotonic() + _ENDED_WITHIN_S
    while connection.exec_driver_sql(f"SELECT count(pg_terminate_backend(pid)) {where}").scalar():
        assert time.monotonic() < deadline, "a session with the test's database does not end"
        time.sleep(0.002)
    return bool(left)

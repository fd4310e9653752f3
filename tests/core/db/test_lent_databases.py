"""A PostgreSQL database that a test gave back is lent again as if it were new, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy

from lora_manager_core.db.models import Base
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.repository import LibraryWriter
from tests.fakes.catalogue import adapter_row
from tests.postgres import PostgresDatabases

pytestmark = pytest.mark.postgres


@pytest.fixture
def lent(postgres_databases: PostgresDatabases) -> Iterator[tuple[str, Database]]:
    name = postgres_databases.borrow()
    database = Database(postgres_databases.url(name))
    yield name, database
    database.close()


def _contents(databases: PostgresDatabases, name: str) -> tuple[dict[str, Any], int]:
    """Every row, and the number that the next record gets."""
    database = Database(databases.url(name))
    with database.write() as session:
        rows = {
            table.name: [tuple(row) for row in session.execute(sqlalchemy.select(table))]
            for table in Base.metadata.sorted_tables
        }
        LibraryWriter(session).insert_rows([adapter_row("first")])
        number = session.execute(sqlalchemy.text("SELECT pk FROM adapters")).scalar_one()
    database.close()
    return rows, number


def test_it_has_the_rows_and_numbers_of_a_new_one(
    postgres_databases: PostgresDatabases, lent: tuple[str, Database]
) -> None:
    name, database = lent
    new = _contents(postgres_databases, name)
    assert new[1] == 1
    with database.write() as session:
        LibraryWriter(session).insert_rows([adapter_row("second"), adapter_row("third")])
        session.execute(sqlalchemy.text("UPDATE counters SET value = value + 1"))
    postgres_databases.give_back(name)
    assert postgres_databases.borrow() == name
    assert _contents(postgres_databases, name) == new
    postgres_databases.give_back(name)


@pytest.mark.parametrize(
    "change",
    ["CREATE TABLE mine (a int)", "ALTER TABLE adapters DROP COLUMN notes", "DROP INDEX {index}"],
)
def test_it_is_dropped_if_its_tables_are_others(
    postgres_databases: PostgresDatabases, lent: tuple[str, Database], change: str
) -> None:
    name, database = lent
    with database.write() as session:
        index = session.execute(
            sqlalchemy.text(
                "SELECT indexname FROM pg_indexes WHERE tablename = 'adapters' "
                "AND indexname LIKE 'ix%' LIMIT 1"
            )
        ).scalar_one()
        session.execute(sqlalchemy.text(change.format(index=index)))
    postgres_databases.give_back(name)
    other = postgres_databases.borrow()
    assert other != name
    postgres_databases.give_back(other)


def test_who_leaves_a_transaction_open_is_told(
    postgres_databases: PostgresDatabases, lent: tuple[str, Database]
) -> None:
    name, _ = lent
    engine = sqlalchemy.create_engine(
        postgres_databases.url(name).replace("postgresql:", "postgresql+psycopg:"),
        poolclass=sqlalchemy.NullPool,
    )
    connection = engine.connect()
    connection.exec_driver_sql("SELECT 1")
    with pytest.raises(AssertionError, match="transaction open"):
        postgres_databases.give_back(name)
    connection.invalidate()
    connection.close()

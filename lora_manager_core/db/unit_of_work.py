"""Units of work: a service opens one, and what it did becomes true at once or not at all.

Reading and writing sessions are different types, so that a repository that changes something cannot
be given a session that only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from lora_manager_core.db.engine import WRITE_OPTION, open_engine
from lora_manager_core.db.migrate import upgrade_to_head


class ReadSession(Session):
    """A session that only reads."""


class WriteSession(ReadSession):
    """A session that may write; it is committed by its unit of work, never by a repository."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, expire_on_commit=False)
        self._after_commit: list[Callable[[], None]] = []

    def after_commit(self, action: Callable[[], None]) -> None:
        """Hand over work (a job, an event) for after the commit; a rollback forgets it."""
        self._after_commit.append(action)

    def run_after_commit(self) -> None:
        """Do what was handed over; called by the unit of work alone."""
        actions, self._after_commit = self._after_commit, []
        for action in actions:
            action()


class Database:
    """One database: `read()` and `write()` give units of work, `close()` gives back connections."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._writing_engine = self.engine.execution_options(**{WRITE_OPTION: True})
        # SQLite gives a reading transaction one state by itself; PostgreSQL has to be asked.
        self._reading_engine = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite; else it is PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    def upgrade(self) -> None:
        """Bring the schema to the newest revision."""
        upgrade_to_head(self.engine)

    @contextmanager
    def read(self) -> Iterator[ReadSession]:
        """A consistent view for reading: one state from the first query to the last."""
        with ReadSession(self._reading_engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[WriteSession]:
        """A write unit: commits at the end of the block, rolls back if it raises."""
        session = WriteSession(self._writing_engine)
        try:
            with session:
                yield session
                session.commit()
        except BaseException:
            session.rollback()
            raise
        session.run_after_commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

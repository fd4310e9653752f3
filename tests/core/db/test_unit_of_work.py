"""Units of work on both databases: no lost update, all or nothing, and what follows a commit."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import insert, select, update

from lora_manager_core.db.models import Counter
from lora_manager_core.db.unit_of_work import Database, ReadSession, WriteSession

_NAME = "visits"


class _Refused(Exception):
    pass


@pytest.fixture
def counted(database: Database) -> Database:
    """A database that holds one counter, at 0."""
    with database.write() as session:
        session.execute(insert(Counter).values(name=_NAME, value=0))
    return database


def _value(session: ReadSession) -> int:
    return session.scalars(select(Counter.value).where(Counter.name == _NAME)).one()


def _set(session: WriteSession, value: int) -> None:
    session.execute(update(Counter).where(Counter.name == _NAME).values(value=value))


def _write_and_fail(database: Database, done: list[str]) -> None:
    with database.write() as session:
        _set(session, 5)
        session.after_commit(lambda: done.append("after the commit"))
        raise _Refused


class TestWriting:
    def test_no_update_is_lost_when_four_threads_read_then_write(self, counted: Database) -> None:
        ready = threading.Barrier(4)
        problems: list[BaseException] = []

        def count_25_times() -> None:
            try:
                ready.wait(10)
                for _ in range(25):
                    with counted.write() as session:
                        _set(session, _value(session) + 1)
            except BaseException as problem:
                problems.append(problem)
                raise

        threads = [threading.Thread(target=count_25_times) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        assert problems == []
        with counted.read() as session:
            assert _value(session) == 100

    def test_an_exception_takes_everything_back(self, counted: Database) -> None:
        with pytest.raises(_Refused):
            _write_and_fail(counted, [])

        with counted.read() as session:
            assert _value(session) == 0

    def test_a_failed_unit_leaves_the_next_one_free_to_write(self, counted: Database) -> None:
        with pytest.raises(_Refused):
            _write_and_fail(counted, [])

        with counted.write() as session:
            _set(session, 6)

        with counted.read() as session:
            assert _value(session) == 6


class TestReading:
    def test_sees_only_what_is_committed(self, counted: Database) -> None:
        with counted.write() as writing:
            _set(writing, 1)
            writing.flush()
            with counted.read() as reading:
                assert _value(reading) == 0

        with counted.read() as reading:
            assert _value(reading) == 1

    def test_sees_one_state_from_beginning_to_end(self, counted: Database) -> None:
        with counted.read() as reading:
            before = _value(reading)
            with counted.write() as writing:
                _set(writing, before + 1)
            assert _value(reading) == before


class TestAfterCommit:
    def test_runs_once_the_change_can_be_seen_by_others(self, counted: Database) -> None:
        seen: list[int] = []

        def look() -> None:
            with counted.read() as other:
                seen.append(_value(other))

        with counted.write() as session:
            _set(session, 7)
            session.after_commit(look)
            assert seen == []

        assert seen == [7]

    def test_keeps_the_order_it_was_given(self, counted: Database) -> None:
        done: list[str] = []
        with counted.write() as session:
            for word in ("first", "second", "third"):
                session.after_commit(lambda word=word: done.append(word))

        assert done == ["first", "second", "third"]

    def test_is_forgotten_by_a_rollback(self, counted: Database) -> None:
        done: list[str] = []
        with pytest.raises(_Refused):
            _write_and_fail(counted, done)

        assert done == []

    def test_may_open_a_write_unit_of_its_own(self, counted: Database) -> None:
        def write_again() -> None:
            with counted.write() as other:
                _set(other, _value(other) + 1)

        with counted.write() as session:
            _set(session, 1)
            session.after_commit(write_again)

        with counted.read() as session:
            assert _value(session) == 2

"""How often and when an adapter was last used follows from the runs, whoever writes those."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, select, update

from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter, GenerationRun, RunAdapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.generation.runs import FROM_UI, Run, RunWriter
from tests.fakes.catalogue import adapter_row

_TIMES = [f"2026-01-{day:02}T12:00:00.000000Z" for day in range(1, 29)]


@pytest.fixture
def used(database: Database) -> Iterator[Database]:
    """A catalogue of three adapters that nothing used yet."""
    with database.write() as session:
        AdapterWriter(session).insert_rows([adapter_row(name) for name in "abc"])
    yield database
    assert _kept(database) == _counted(database)


def _run(database: Database, finished_at: str, *names: str) -> None:
    with database.write() as session:
        uses = dict.fromkeys(names, 1.0)
        RunWriter(session).add(Run(FROM_UI, 1, uses, finished_at=finished_at))


def _kept(database: Database) -> dict[str, tuple[int, str | None]]:
    with database.read() as session:
        query = select(Adapter.name, Adapter.use_count, Adapter.last_used_at)
        return {name: (count, last) for name, count, last in session.execute(query)}


def _counted(database: Database) -> dict[str, tuple[int, str | None]]:
    with database.read() as session:
        query = (
            select(Adapter.name, GenerationRun.finished_at)
            .outerjoin(RunAdapter, RunAdapter.adapter_id == Adapter.id)
            .outerjoin(GenerationRun, GenerationRun.id == RunAdapter.run_id)
        )
        times: dict[str, list[str]] = {}
        for name, time in session.execute(query):
            times.setdefault(name, []).extend([time] if time else [])
    return {name: (len(found), max(found, default=None)) for name, found in times.items()}


class TestUse:
    def test_is_counted_with_the_latest_time(self, used: Database) -> None:
        _run(used, _TIMES[3], "a", "b")
        _run(used, _TIMES[1], "a")

        assert _kept(used) == {"a": (2, _TIMES[3]), "b": (1, _TIMES[3]), "c": (0, None)}

    def test_goes_with_deleted_runs(self, used: Database) -> None:
        _run(used, _TIMES[3], "a")
        _run(used, _TIMES[1], "a")
        with used.write() as session:
            session.execute(delete(GenerationRun).where(GenerationRun.finished_at == _TIMES[3]))

        assert _kept(used)["a"] == (1, _TIMES[1])

    def test_does_not_count_as_a_change_of_the_record(self, used: Database) -> None:
        with used.read() as session:
            before = set(session.execute(select(Adapter.id, Adapter.updated_at)))
        _run(used, _TIMES[3], "a")

        with used.read() as session:
            assert set(session.execute(select(Adapter.id, Adapter.updated_at))) == before

    def test_follows_any_change_of_the_rows(self, used: Database) -> None:
        drawn = random.Random(7)
        for time in drawn.sample(_TIMES, 6):
            _run(used, time, *drawn.sample("abc", 2))
        with used.write() as session:
            ids = session.scalars(select(Adapter.id)).all()
            for row in session.scalars(select(RunAdapter)).all():
                row.adapter_id = drawn.choice([None, *ids])
        assert _kept(used) == _counted(used)
        with used.write() as session:
            session.execute(update(GenerationRun).values(finished_at=_TIMES[9]))
        assert _kept(used) == _counted(used)
        with used.write() as session:
            session.execute(delete(Adapter).where(Adapter.name == "b"))
            session.execute(delete(RunAdapter).where(RunAdapter.position == 0))

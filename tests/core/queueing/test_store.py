"""The queries of the keeper and of each start of a job: quick beside 10,000 ended jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.base import FAILED, GPU_LANE, PENDING, RUNNING, SUCCEEDED
from lora_manager_core.queueing.store import JobStore


@pytest.fixture
def busy_database(database: Database) -> Database:
    """10,000 ended jobs of two kinds, 20 that wait, one that runs."""
    states = [SUCCEEDED, FAILED] * 5000 + [PENDING] * 20 + [RUNNING]
    with database.write() as session:
        session.execute(
            insert(Job),
            [
                {
                    "id": f"{number:036}",
                    "kind": "generation" if number % 3 else "scan",
                    "lane": GPU_LANE,
                    "status": status,
                    "payload": {"prompt": "a fox " * 20},
                    "created_at": utc_after(number - 20_000),
                    "started_at": utc_after(number - 20_000),
                    "finished_at": utc_after(number - 19_990),
                    "lease_until": utc_after(-1),
                }
                for number, status in enumerate(states)
            ],
        )
    with database.write() as session:
        session.connection().exec_driver_sql("ANALYZE")
    return database


def _plans(database: Database, look: Callable[[JobStore], Any]) -> list[str]:
    """How the database runs the statements of `look`, as it says itself."""
    asked: list[tuple[str, Any]] = []

    def _listen(
        _connection: Connection, _cursor: Any, statement: str, parameters: Any, *_more: Any
    ) -> None:
        asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", _listen)
    try:
        with database.read() as session:
            look(JobStore(session))
    finally:
        event.remove(database.engine, "before_cursor_execute", _listen)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    queries = [(text, values) for text, values in asked if text.startswith("SELECT")]
    assert queries
    with database.engine.connect() as connection:
        return [
            "\n".join(
                str(row[-1])
                for row in connection.exec_driver_sql(f"{explain} {text}", values).all()
            )
            for text, values in queries
        ]


def test_no_query_of_the_keeper_or_of_a_start_reads_the_whole_table(
    busy_database: Database,
) -> None:
    looks: dict[str, Callable[[JobStore], Any]] = {
        "what is due": lambda store: store.list_due(),
        "what is due next": lambda store: store.next_due_at(),
        "what was abandoned": lambda store: store.list_abandoned(),
        "what waits and runs": lambda store: store.count_unfinished(),
        "the pace of a kind": lambda store: store.pace("generation"),
    }
    for name, look in looks.items():
        for plan in _plans(busy_database, look):
            assert "SCAN jobs" not in plan.replace("SCAN jobs USING", ""), (name, plan)
            assert "Seq Scan on jobs" not in plan, (name, plan)

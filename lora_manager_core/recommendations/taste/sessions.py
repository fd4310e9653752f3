"""The log of answers: what was asked and what was shown, so that feedback can refer to it.

An answer does not wait for its row; feedback does, for those that are still on their way.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select

from lora_manager_core.common.clock import utc_after, utc_now
from lora_manager_core.db.models import RecommendationSession
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.db.write_behind import WriteBehind

#: How long a session is kept; half of what feedback in it says is forgotten by then.
KEPT_DAYS = 90
_KEPT_S = KEPT_DAYS * 24 * 3600.0
#: Old ones are thrown away with each so many written portions.
_PRUNED_EVERY = 100
#: A query is kept to be read, not to be run again.
_LONGEST_QUERY = 10_000


class SessionLog:
    """Sessions, written behind: `open` gives an id at once."""

    def __init__(self, database: Database, pause_s: float = 5.0) -> None:
        self._database = database
        self._behind = WriteBehind[dict[str, Any]]("recommendation-sessions", self._write, pause_s)
        self._portions = 0

    def open(
        self,
        kind: str,
        query: str | None,
        target_id: str | None,
        mode: str,
        shown: Sequence[tuple[str, float] | tuple[str, float, float]],
        duration_ms: float,
    ) -> str:
        """Log one answer; `shown` are adapter ids with their final scores, best first.

        Of a composed set, with their weights, too. Gives the id of its session. `kind` is the
        operation (20 characters at most).
        """
        session_id = str(uuid.uuid4())
        self._behind.add(
            {
                "id": session_id,
                "kind": kind,
                "query": None if query is None else query[:_LONGEST_QUERY],
                "target_id": target_id,
                "mode": mode,
                "shown": [list(adapter) for adapter in shown],
                "duration_ms": duration_ms,
                "created_at": utc_now(),
            }
        )
        return session_id

    def flush(self) -> None:
        """Wait until every session that was opened here can be found."""
        self._behind.flush()

    def stop(self) -> None:
        """Write what waits; the next `open` begins anew."""
        self._behind.stop()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with self._database.write() as session:
            session.connection().execute(insert(RecommendationSession), rows)
            if self._portions % _PRUNED_EVERY == 0:
                old = RecommendationSession.created_at < utc_after(-_KEPT_S)
                session.execute(
                    delete(RecommendationSession)
                    .where(old)
                    .execution_options(synchronize_session=False)
                )
            self._portions += 1


def find_session(session: ReadSession, session_id: str) -> RecommendationSession | None:
    """The session of that id, once it is written."""
    query = select(RecommendationSession).where(RecommendationSession.id == session_id)
    return session.scalars(query).first()

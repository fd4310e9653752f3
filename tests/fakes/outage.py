"""A database that goes away for a while, as one that restarts or is locked by somebody does."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from lora_manager_core.db.unit_of_work import Database


class Outage:
    """Within the block every new unit of work fails, or the first `units` of them; of this process.

    With `after_commit` a unit is done, and only the answer that it was is lost.
    """

    def __init__(
        self, database: Database, units: int | None = None, after_commit: bool = False
    ) -> None:
        self._engine = database.engine
        self._left = units
        self._event = "commit" if after_commit else "begin"
        self._lock = threading.Lock()
        self.refused = 0

    def __enter__(self) -> Outage:
        event.listen(self._engine, self._event, self._refuse)
        return self

    def __exit__(self, *_error: object) -> None:
        event.remove(self._engine, self._event, self._refuse)

    def _refuse(self, connection: Connection) -> None:
        with self._lock:
            if self._left is not None and self.refused >= self._left:
                return
            self.refused += 1
        if self._event == "commit":
            connection.connection.commit()
        raise OperationalError("", {}, Exception("the database is not there"))

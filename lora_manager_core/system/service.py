"""Whether this process can serve, and why not."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core import __version__
from lora_manager_core.db.unit_of_work import Database


class Health(BaseModel):
    """`reason` says why the process is not ready."""

    ready: bool
    reason: str | None
    version: str


class SystemService:
    """Looks at what every request needs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def health(self) -> Health:
        """Ask the database; nothing else is needed to serve."""
        try:
            with self._database.read() as session:
                session.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return Health(ready=False, reason="The database cannot be read.", version=__version__)
        return Health(ready=True, reason=None, version=__version__)

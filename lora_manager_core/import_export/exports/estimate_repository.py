"""The queries of an estimate: counts and sums, no rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.table import ADAPTERS
from lora_manager_core.db.models import ResultImage
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.import_export.archive.tables import TABLES, ArchivedTable
from lora_manager_core.import_export.exports.repository import chosen_rows, listed

#: Row numbers in one statement.
_CHUNK = 20_000
#: One row a file: several records may have it.
_FILES_SQL = """
SELECT count(*) - sum(gone), sum(size_bytes), sum(gone) FROM (
    SELECT max(CASE WHEN file_state = 'missing' THEN 1 ELSE 0 END) AS gone,
           max(CASE WHEN file_state = 'missing' THEN 0 ELSE file_size END) AS size_bytes
    FROM adapters WHERE pk IN"""
_SUM_SQL = "GROUP BY file_key) AS files"


class ChosenFiles(NamedTuple):
    """Model files, each once however many records it has: those there, and those that are not."""

    present: int
    size_bytes: int
    missing: int


class EstimateRepository:
    """What an archive would hold, counted in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def chosen(
        self, adapter_ids: Sequence[str] | None, query: AdapterQuery | None
    ) -> Sequence[int]:
        """Row numbers of the chosen adapters."""
        if adapter_ids is None:
            everything = Adapters(self._session).selection(query or AdapterQuery())
            return self._session.scalars(everything).all()
        numbers: list[int] = []
        for ids in listed(list(dict.fromkeys(adapter_ids))):
            some = select(ADAPTERS.c.pk).where(ADAPTERS.c.id.in_(ids))
            numbers.extend(self._session.scalars(some).all())
        return numbers

    def files(self, numbers: Sequence[int]) -> ChosenFiles:
        """The model files of adapters by row number."""
        files = size_bytes = missing = 0
        for start in range(0, len(numbers), _CHUNK):
            # Plain SQL: these are row numbers, and as parameters they would be too many.
            chosen = ",".join(map(str, numbers[start : start + _CHUNK]))
            rows = self._session.connection().exec_driver_sql(f"{_FILES_SQL} ({chosen}) {_SUM_SQL}")
            for present, present_bytes, gone in rows:
                files += int(present or 0)
                size_bytes += int(present_bytes or 0)
                missing += int(gone or 0)
        return ChosenFiles(files, size_bytes, missing)

    def count_pictures(self, dates: tuple[str | None, str | None]) -> int:
        """How many pictures of results."""
        return self.count(next(table for table in TABLES if table.model is ResultImage), dates)

    def count(self, archived: ArchivedTable, dates: tuple[str | None, str | None]) -> int:
        """How many rows of a table."""
        counted = select(func.count()).select_from(archived.table)
        return int(self._session.scalar(counted.where(*chosen_rows(archived, dates))) or 0)

"""Writes the archived rows that are no adapters, as it was decided, in portions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import delete, insert, select, update

from lora_manager_core.common.words import word_key
from lora_manager_core.db import counters
from lora_manager_core.db.models import (
    Adapter,
    Base,
    Choice,
    Collection,
    ExcludedFile,
    GenerationRun,
    Job,
    Preference,
    Result,
    Stack,
)
from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.tables import TABLES
from lora_manager_core.import_export.imports.plan import TableDecisions
from lora_manager_core.import_export.imports.repository import chunks
from lora_manager_core.import_export.imports.set_writer import SetWriter
from lora_manager_core.queueing.base import ENDED

_ROWS = 1000
#: What belongs to jobs goes with them.
_WITH_JOBS = ("job_attempts", "results", "result_images")


class TableWriter:
    """The rows of one archive; `adapter_ids` tells which record here an archived one became."""

    def __init__(
        self,
        session: WriteSession,
        archive: Archive,
        decided: TableDecisions,
        adapter_ids: Mapping[str, str],
        picture_paths: Mapping[tuple[str, int], Path],
    ) -> None:
        self._session = session
        self._archive = archive
        self._decided = decided
        self._adapter_ids = adapter_ids
        self._picture_paths = picture_paths
        self._run_ids: dict[int, int] = {}

    def clear(self) -> None:
        """Empty the tables of every part that the archive has; unfinished jobs stay."""
        parts = parts_of(self._archive)
        for table in reversed(TABLES):
            if table.part not in parts or table.name in _WITH_JOBS:
                continue
            statement = delete(table.model)
            if table.model is Job:
                statement = statement.where(Job.status.in_(ENDED))
                if table.where is not None:
                    statement = statement.where(table.where)
            self._session.execute(statement.execution_options(synchronize_session=False))

    def write(self) -> dict[str, int]:
        """Write all rows; gives how many of each table.

        Raises:
            IntegrityError: rows of these keys are here by now.
        """
        # Before runs get their numbers, as `generation.runs` does.
        counters.raise_counter(self._session, counters.FEEDBACK)
        self._make_room()
        sets = SetWriter(self._session, self._archive, self._decided, self._adapter_ids)
        for table in TABLES:
            if table.name not in self._archive.tables():
                continue
            if table.name in SetWriter.TABLES:
                sets.write(table.name)
                continue
            for rows in _portions(self._rows(table.name)):
                if table.model is GenerationRun:
                    self._insert_runs(rows)
                else:
                    self._insert(table.model, rows)
        sets.merge()
        self._rate()
        return dict(self._decided.rows)

    def _make_room(self) -> None:
        """Remove the rows that give way."""
        gone = (
            (Job, Job.id, self._decided.gone),
            (Choice, Choice.name, self._decided.choices),
            (ExcludedFile, ExcludedFile.file_key, self._decided.excluded),
            (Preference, Preference.id, self._decided.outdated),
            (Collection, Collection.id, self._decided.collections.gone),
            (Stack, Stack.id, self._decided.stacks.gone),
        )
        for model, key, keys in gone:
            for chunk in chunks(keys):
                self._session.execute(
                    delete(model).where(key.in_(chunk)).execution_options(synchronize_session=False)
                )

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows that are taken, as they are to stand here."""
        for row in self._archive.rows(table):
            if not self._decided.takes(table, row):
                continue
            if table == "jobs":
                yield self._job(row)
            elif table == "feedback_events":
                adapter_id = self._adapter_ids.get(row["adapter_id"], row["adapter_id"])
                yield {**row, "adapter_id": adapter_id}
            elif table == "preferences":
                preference_id = self._decided.preferences[row["id"]]
                yield {**row, "id": preference_id, "value_key": word_key(row["value"])}
            elif table == "job_attempts":
                yield {**row, "job_id": self._decided.jobs[row["job_id"]], "owner": ""}
            elif table == "result_images":
                path = self._picture_paths[row["job_id"], row["number"]]
                job_id = self._decided.jobs[row["job_id"]]
                yield {**row, "job_id": job_id, "file_path": str(path)}
            elif "job_id" in row:
                yield {**row, "job_id": self._decided.jobs.get(row["job_id"], row["job_id"])}
            else:
                yield row

    def _job(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A job that was given another id is known by that in its own words, too: in its links."""
        job_id = self._decided.jobs[row["id"]]
        job = {**row, "id": job_id}
        if job_id != row["id"] and row["result"] is not None:
            text = orjson.dumps(row["result"]).replace(row["id"].encode(), job_id.encode())
            job["result"] = orjson.loads(text)
        return job

    def _insert(self, model: type[Base], rows: list[dict[str, Any]]) -> None:
        if model.__tablename__ == "run_adapters":
            rows = self._uses(rows)
        self._session.connection().execute(insert(model), rows)

    def _insert_runs(self, rows: list[dict[str, Any]]) -> None:
        """Runs get new numbers."""
        numbers = [row.pop("id") for row in rows]
        statement = insert(GenerationRun).returning(GenerationRun.id, sort_by_parameter_order=True)
        made = self._session.connection().execute(statement, rows).scalars()
        self._run_ids.update(zip(numbers, made, strict=True))

    def _uses(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The adapters of runs as they are known here; null where they are not."""
        ids = {row["adapter_id"] for row in rows if row["adapter_id"]}
        wanted = {archived: self._adapter_ids.get(archived, archived) for archived in ids}
        here: set[str] = set()
        for chunk in chunks(set(wanted.values())):
            here.update(self._session.scalars(select(Adapter.id).where(Adapter.id.in_(chunk))))
        uses = []
        for row in rows:
            known = wanted.get(row["adapter_id"])
            uses.append(
                {
                    **row,
                    "run_id": self._run_ids[row["run_id"]],
                    "adapter_id": known if known in here else None,
                }
            )
        return uses

    def _rate(self) -> None:
        """Fill in what nobody said of a result here."""
        if not self._decided.rated:
            return
        for row in self._archive.rows("results"):
            if row["job_id"] not in self._decided.rated:
                continue
            mine = update(Result).where(Result.job_id == row["job_id"])
            if row["rating"] is not None:
                self._session.execute(
                    mine.where(Result.rating.is_(None)).values(rating=row["rating"])
                )
            if row["is_favorite"]:
                self._session.execute(mine.values(is_favorite=True))


def parts_of(archive: Archive) -> set[str]:
    """The parts of tables that an archive was made with, rows or not."""
    chosen = archive.manifest.contents
    return {t.part for t in TABLES if chosen.get(t.part) or t.name in archive.tables()}


def _portions(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    portion: list[dict[str, Any]] = []
    for row in rows:
        portion.append(row)
        if len(portion) == _ROWS:
            yield portion
            portion = []
    if portion:
        yield portion

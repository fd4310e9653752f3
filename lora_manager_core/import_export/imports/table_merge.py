"""What becomes of the archived rows that are no adapters: choices, feedback, jobs, results, runs.

Decided from the database and the archive alone, so that the same can be asked again under the write
lock. Jobs are history: none is ever begun here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select

from lora_manager_core.adapters.table import ADAPTERS
from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import (
    Choice,
    ExcludedFile,
    FeedbackEvent,
    GenerationRun,
    Job,
    Preference,
    Result,
)
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.tables import TABLES
from lora_manager_core.import_export.imports.plan import Kind, TableDecisions, Wishes
from lora_manager_core.import_export.imports.repository import chunks
from lora_manager_core.import_export.imports.set_merge import (
    COLLECTIONS,
    STACKS,
    SetMerge,
    doubled,
    orphaned,
)
from lora_manager_core.import_export.schemas import ImportConflict, Rule
from lora_manager_core.queueing.base import ENDED, UNFINISHED

#: Archived rows that are compared with those here at once.
_ROWS = 1000
_BY_NAME = {table.name: table for table in TABLES}
#: What can be said otherwise of the same preference.
_OF_PREFERENCES = ("value", "confidence", "explicit")
_OF_JOBS = ("job_attempts", "results", "result_images")


def decide(
    session: ReadSession, archive: Archive, wishes: Wishes, adapter_ids: Mapping[str, str]
) -> TableDecisions:
    """What to do with every row; `adapter_ids` tells which record here an archived one becomes.

    Raises:
        ArchiveRefused: a row belongs to one that is neither here nor in the archive, or twice one
            key is given.
    """
    return _Decider(session, archive, wishes, adapter_ids).decide()


class _Decider:
    def __init__(
        self,
        session: ReadSession,
        archive: Archive,
        wishes: Wishes,
        adapter_ids: Mapping[str, str],
    ) -> None:
        self._session = session
        self._adapter_ids = adapter_ids
        self._archive = archive
        self._wishes = wishes
        self._tables = archive.tables()
        #: What is here is emptied first, but for jobs that are under way.
        self._emptied = wishes.restore
        self._made = TableDecisions()

    def decide(self) -> TableDecisions:
        if "choices" in self._tables:
            self._choices()
        if "excluded_files" in self._tables:
            self._excluded()
        if "feedback_events" in self._tables:
            self._feedback()
        if "preferences" in self._tables:
            self._preferences()
        sets = SetMerge(
            self._session, self._archive, self._adapter_ids, self._emptied, self._conflict
        )
        if "collections" in self._tables:
            self._made.collections = sets.decide(COLLECTIONS)
        if "stacks" in self._tables:
            self._made.stacks = sets.decide(STACKS)
        archived = self._jobs() if "jobs" in self._tables else set()
        if "generation_runs" in self._tables:
            self._runs()
        for table in self._tables:
            self._check_and_count(table, archived)
        return self._made

    def _choices(self) -> None:
        for theirs, ours in self._pairs("choices", Choice, "name"):
            name = theirs["name"]
            if ours is None:
                self._made.choices.add(name)
            elif ours["value"] != theirs["value"]:
                problem = "This choice was made otherwise here."
                if self._conflict("choices", name, name, problem, ["value"]) == "replace":
                    self._made.choices.add(name)

    def _excluded(self) -> None:
        listed: set[str] = set()
        if not self._emptied:
            listed.update(self._session.scalars(select(ADAPTERS.c.file_key)))
        for theirs, ours in self._pairs("excluded_files", ExcludedFile, "file_key"):
            if ours is None and theirs["file_key"] not in listed:
                self._made.excluded.add(theirs["file_key"])

    def _feedback(self) -> None:
        """Feedback is never changed: what is here stays as it is."""
        for theirs, ours in self._pairs("feedback_events", FeedbackEvent, "id"):
            if ours is None:
                self._made.events.add(theirs["id"])

    def _preferences(self) -> None:
        """One person prefers one value once, whatever its id."""
        known: dict[tuple[str, ...], Preference] = {}
        taken: set[str] = set()
        if not self._emptied:
            here = self._session.scalars(select(Preference)).all()
            known = {(p.user, p.kind, p.value_key): p for p in here}
            taken = {p.id for p in here}
        seen: set[tuple[str, ...]] = set()
        for theirs, _ in self._pairs("preferences", Preference, "id"):
            mark = (theirs["user"], theirs["kind"], word_key(theirs["value"]))
            if mark in seen:
                raise doubled("preferences")
            seen.add(mark)
            ours = known.get(mark)
            if ours is not None:
                differs = [n for n in _OF_PREFERENCES if getattr(ours, n) != theirs[n]]
                problem = "This was said otherwise here."
                if (
                    not differs
                    or self._conflict(
                        "choices",
                        "/".join(("preferences", *mark)),
                        theirs["value"],
                        problem,
                        differs,
                    )
                    != "replace"
                ):
                    continue
                self._made.outdated.add(ours.id)
                taken.discard(ours.id)
            preference_id = theirs["id"]
            if preference_id in taken:
                named = f"{self._archive.manifest.id}/{preference_id}"
                preference_id = str(uuid.uuid5(uuid.NAMESPACE_OID, named))
            self._made.preferences[theirs["id"]] = preference_id

    def _jobs(self) -> set[str]:
        """Decide on jobs with all that belongs to them; gives the archived ids."""
        archived: set[str] = set()
        differing: dict[str, list[str]] = {}
        for theirs, ours in self._pairs("jobs", Job, "id"):
            job_id = theirs["id"]
            archived.add(job_id)
            if theirs["status"] not in ENDED:
                raise ArchiveRefused(f"The archive is refused: its job {job_id} has not ended.")
            if ours is None:
                self._made.jobs[job_id] = job_id
            elif ours["status"] not in UNFINISHED:  # else it is under way here, and goes on
                differing[job_id] = [name for name in theirs if ours[name] != theirs[name]]
        if "results" in self._tables:
            for theirs, ours in self._pairs("results", Result, "job_id"):
                if theirs["job_id"] in differing and ours is not None:
                    changed = [name for name in theirs if ours[name] != theirs[name]]
                    differing[theirs["job_id"]] += changed
        for job_id, fields in differing.items():
            if fields:
                self._met(job_id, fields)
        return archived

    def _met(self, job_id: str, fields: list[str]) -> None:
        problem = "A job of this id is here and says something else."
        rule = self._conflict("results", job_id, job_id, problem, fields)
        if rule == "replace":
            self._made.gone.add(job_id)
            self._made.jobs[job_id] = job_id
        elif rule == "rename":
            self._made.jobs[job_id] = self._other_id(job_id)
        elif rule == "merge":
            self._made.rated.add(job_id)

    def _other_id(self, job_id: str) -> str:
        """Another id for a job, the same each time for the same archive."""
        number = 1
        while True:
            named = f"{self._archive.manifest.id}/{job_id}/{number}"
            other = str(uuid.uuid5(uuid.NAMESPACE_OID, named))
            if self._session.get(Job, other) is None:
                return other
            number += 1

    def _runs(self) -> None:
        c = GenerationRun.__table__.c
        for rows in self._portions("generation_runs"):
            jobs = [row["job_id"] for row in rows if row["job_id"]]
            moments = {row["finished_at"] for row in rows}
            known_jobs = set(
                self._session.scalars(select(c.job_id).where(c.job_id.in_(jobs))) if jobs else ()
            )
            query = select(c.source, c.finished_at, c.model, c.images)
            known = {
                tuple(r) for r in self._session.execute(query.where(c.finished_at.in_(moments)))
            }
            for row in rows:
                mark = (row["source"], row["finished_at"], row["model"], row["images"])
                if self._emptied:
                    self._made.runs.add(row["id"])
                    continue
                renamed = self._made.jobs.get(row["job_id"], row["job_id"]) != row["job_id"]
                if renamed or (row["job_id"] not in known_jobs and mark not in known):
                    self._made.runs.add(row["id"])

    def _check_and_count(self, table: str, jobs: set[str]) -> None:
        """Every row must have its parent; count those that are taken."""
        taken, orphans = 0, set()
        for row in self._archive.rows(table):
            taken += self._made.takes(table, row)
            if table in _OF_JOBS and row["job_id"] not in jobs:
                orphans.add(row["job_id"])
        if table == "run_adapters":
            has_runs = "generation_runs" in self._tables
            runs = self._archive.rows("generation_runs") if has_runs else ()
            known = {row["id"] for row in runs}
            if any(row["run_id"] not in known for row in self._archive.rows(table)):
                raise orphaned(table)
        for chunk in chunks(orphans):
            here = self._session.scalars(select(Job.id).where(Job.id.in_(chunk)))
            if set(chunk) - set(here):
                raise orphaned(table)
        if taken:
            self._made.rows[table] = taken

    def _pairs(
        self, table: str, model: Any, key: str
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Each archived row with the one here of that key; no key may come twice."""
        columns = _BY_NAME[table].columns
        c = model.__table__.c
        seen: set[str] = set()
        for rows in self._portions(table):
            keys = {row[key] for row in rows}
            if len(keys) < len(rows) or keys & seen:
                raise doubled(table)
            seen |= keys
            query = select(*(c[name] for name in columns)).where(c[key].in_(keys))
            found = (dict(zip(columns, row, strict=True)) for row in self._session.execute(query))
            ours = {row[key]: row for row in found if self._stays(row)}
            for row in rows:
                yield row, ours.get(row[key])

    def _stays(self, row: Mapping[str, Any]) -> bool:
        return not self._emptied or row.get("status") in UNFINISHED

    def _portions(self, table: str) -> Iterator[list[dict[str, Any]]]:
        portion: list[dict[str, Any]] = []
        for row in self._archive.rows(table):
            portion.append(row)
            if len(portion) == _ROWS:
                yield portion
                portion = []
        if portion:
            yield portion

    def _conflict(self, kind: Kind, key: str, name: str, problem: str, differs: list[str]) -> Rule:
        key = f"{kind}:{key}"
        rule = self._wishes.rule(kind, key)
        self._made.conflicts.append(
            ImportConflict(
                key=key, kind=kind, name=name, problem=problem, rule=rule, differs=differs
            )
        )
        return rule

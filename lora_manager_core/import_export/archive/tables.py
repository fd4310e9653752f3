"""Which tables and columns an archive holds. A guard test compares this with the schema.

Whoever adds a table or a column decides here: it is in archives, or it is named with the reason why
not. Rows are JSON objects by column name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import ColumnElement, Table

from lora_manager_core.db.models import (
    Adapter,
    Base,
    Choice,
    Collection,
    CollectionAdapter,
    ExcludedFile,
    FeedbackEvent,
    GenerationRun,
    Job,
    JobAttempt,
    Preference,
    Result,
    ResultImage,
    RunAdapter,
    Stack,
    StackedAdapter,
)
from lora_manager_core.queueing.base import DELIVERY_LANE, GPU_LANE

#: The parts of an archive that can be chosen apart, with the field of `schemas.Contents`.
USER_DATA = "user_data"
GENERATIONS = "generations"
ANALYTICS = "analytics"


@dataclass(frozen=True, slots=True)
class ArchivedTable:
    """One table in an archive: in which part, without which columns, and which of its rows."""

    model: type[Base]
    part: str
    #: Column → why it stays at home.
    without: Mapping[str, str] = field(default_factory=dict)
    where: ColumnElement[bool] | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self.table.name)

    @property
    def table(self) -> Table:
        """The table as Core sees it."""
        return cast(Table, self.model.__table__)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are archived, in the table's order."""
        return tuple(c.name for c in self.table.columns if c.name not in self.without)


_LEASE = "a process of that installation held it"
_ANSWERED = "belongs to what a client and that installation said to each other"
_OF_OTHERS = "machine work, such as scans, means nothing elsewhere"
_OF_NAME = {"name_key": "made from the name"}

#: In the order in which rows can be inserted: what is referred to comes first.
TABLES: tuple[ArchivedTable, ...] = (
    ArchivedTable(Choice, USER_DATA),
    ArchivedTable(ExcludedFile, USER_DATA),
    ArchivedTable(FeedbackEvent, USER_DATA),
    ArchivedTable(Preference, USER_DATA, without={"value_key": "made from the value"}),
    ArchivedTable(Collection, USER_DATA, without=_OF_NAME),
    ArchivedTable(CollectionAdapter, USER_DATA),
    ArchivedTable(Stack, USER_DATA, without=_OF_NAME),
    ArchivedTable(StackedAdapter, USER_DATA),
    ArchivedTable(
        Job,
        GENERATIONS,
        without={
            "lease_owner": _LEASE,
            "lease_until": _LEASE,
            "cancel_requested": _LEASE,
            "idempotency_key": _ANSWERED,
            "request_digest": _ANSWERED,
        },
        where=Job.lane.in_((GPU_LANE, DELIVERY_LANE)),
    ),
    ArchivedTable(
        JobAttempt,
        GENERATIONS,
        without={"owner": _LEASE},
    ),
    ArchivedTable(Result, GENERATIONS),
    ArchivedTable(ResultImage, GENERATIONS),
    ArchivedTable(GenerationRun, ANALYTICS),
    ArchivedTable(RunAdapter, ANALYTICS),
)

#: Tables that are in no archive, and why; `adapters` has a member per row instead.
EXCLUDED: Mapping[str, str] = {
    "adapter_tags": "made from the tags of the adapters",
    "counters": "counts changes of this database",
    "text_vectors": "made from the texts of the adapters",
    "weight_sketches": "made from the model files",
    "undo_entries": "takes back what was done to the files and records of this installation",
    "binned_files": "lie in the data folder of this installation",
    "look_ups": "can be asked again",
    "recommendation_sessions": "what was shown, kept for a while so that feedback can refer to it",
    "api_keys": "secrets of this installation; a restored one could let a revoked key in again",
}

#: Columns of `adapters` that are no part of a record, and why.
DERIVED_COLUMNS: Mapping[str, str] = {
    "pk": "a row number of this database",
    "name_key": "made from the name",
    "version_key": "made from the version",
    "search_text": "made from the texts",
    "file_path": "told by `location`",
    "file_key": "made from the path",
    "folder": "told by `location`",
    "primary_file_local_path": "made from the path",
    "json_file_path": "made from the path",
    "preview_path": "made from the path",
    "side_signature": "made from the files beside it",
    "file_state": "whether the file is there is found out where the record goes",
    "file_sha256_problem": "whether the file can be read is found out where the record goes",
    "use_count": "counted from the runs",
    "last_used_at": "told by the runs",
    "prompt_name": "what a backend resolves is found out where the record goes",
    "prompt_name_problem": "what a backend resolves is found out where the record goes",
}

#: Columns of `adapters` that are in every record.
RECORD_COLUMNS: tuple[str, ...] = tuple(
    c.name for c in Adapter.__table__.columns if c.name not in DERIVED_COLUMNS
)

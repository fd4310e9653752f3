"""The queries of text vectors: what is stored, what is due, and putting new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter, TextVectors
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.embeddings.text import AdapterText

#: Ids per statement (SQLite allows 32,766 parameters).
_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class StoredText:
    """One row. The vectors are little-endian float16 of norm 1, or None without such a text.

    `revision` is that of the counter `embeddings_revision` when it was written.
    """

    adapter_id: str
    model_key: str
    text_digest: str
    text_vector: bytes | None
    tags_vector: bytes | None
    problem: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class AdapterWords:
    """What one adapter's texts are made of, and as of when."""

    adapter_id: str
    updated_at: str
    fields: AdapterText


@dataclass(frozen=True, slots=True)
class NewText:
    """What came of one adapter's texts."""

    adapter_id: str
    adapter_updated_at: str
    model_key: str
    text_digest: str
    text_vector: bytes | None = None
    tags_vector: bytes | None = None
    problem: str | None = None


_STORED = (
    TextVectors.adapter_id,
    TextVectors.model_key,
    TextVectors.text_digest,
    TextVectors.text_vector,
    TextVectors.tags_vector,
    TextVectors.problem,
    TextVectors.revision,
)
_WORDS = (
    Adapter.id,
    Adapter.updated_at,
    Adapter.name,
    Adapter.description,
    Adapter.tags,
    Adapter.trained_words,
    Adapter.triggers,
    Adapter.activation_text,
    Adapter.notes,
    Adapter.archetype,
    Adapter.extra,
)
_JOINED = (TextVectors, TextVectors.adapter_id == Adapter.id)


def adapter_text_rows(
    session: ReadSession, adapter_ids: Sequence[str] | None = None
) -> list[AdapterWords]:
    """What the texts of these adapters (None: all) are made of; unknown ids are passed over."""
    if adapter_ids is None:
        rows = session.execute(select(*_WORDS)).all()
    else:
        rows = []
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            rows += session.execute(select(*_WORDS).where(Adapter.id.in_(chunk))).all()
    return [AdapterWords(row[0], row[1], AdapterText(*row[2:])) for row in rows]


class TextVectorStore:
    """Reads text vectors."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def changed_since(self, revision: int) -> list[StoredText]:
        """All rows written after that value of `embeddings_revision`; 0 for all."""
        query = select(*_STORED).where(TextVectors.revision > revision)
        return [StoredText(*row) for row in self._session.execute(query)]

    def digests(self, model_key: str) -> dict[str, str]:
        """Adapter → digest of the texts that this model has been shown, whatever came of it."""
        query = select(TextVectors.adapter_id, TextVectors.text_digest)
        rows = self._session.execute(query.where(TextVectors.model_key == model_key))
        return {row[0]: row[1] for row in rows}

    def unsure_ids(self, model_key: str) -> list[str]:
        """Adapters that this model was not shown since they were changed in whatever way."""
        query = select(Adapter.id).outerjoin(*_JOINED).where(_unsure(model_key))
        return list(self._session.scalars(query))

    def any_unsure(self, model_key: str) -> bool:
        """Whether there is one."""
        query = select(Adapter.id).outerjoin(*_JOINED).where(_unsure(model_key)).limit(1)
        return self._session.scalar(query) is not None

    def any_adapter(self) -> bool:
        """Whether there are adapters at all."""
        return self._session.scalar(select(Adapter.id).limit(1)) is not None

    def known_ids(self, adapter_ids: Sequence[str]) -> set[str]:
        """Those of these ids that are adapters'."""
        known: set[str] = set()
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            known.update(self._session.scalars(select(Adapter.id).where(Adapter.id.in_(chunk))))
        return known

    def all_ids(self) -> list[str]:
        """Every adapter."""
        return list(self._session.scalars(select(Adapter.id)))

    def counts(self, model_key: str | None) -> dict[str, int]:
        """How many adapters are in each state, see `text_state`."""
        # in a subquery, because PostgreSQL takes two uses of one bound value for two values
        states = (
            select(text_state(model_key).label("state"))
            .select_from(Adapter)
            .outerjoin(*_JOINED)
            .subquery()
        )
        query = select(states.c.state, func.count()).group_by(states.c.state)
        return {row[0]: row[1] for row in self._session.execute(query)}


class TextVectorWriter(TextVectorStore):
    """Reads and writes text vectors."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writing = session

    def put(self, texts: Sequence[NewText]) -> None:
        """Store them in place of the old ones; adapters deleted meanwhile are passed over.

        Raises the counter `embeddings_revision` and marks the rows with it.
        """
        revision = counters.raise_counter(self._writing, counters.EMBEDDINGS)
        ids = [text.adapter_id for text in texts]
        alive = self.known_ids(ids)
        self._writing.execute(
            delete(TextVectors)
            .where(TextVectors.adapter_id.in_(ids))
            .execution_options(synchronize_session=False)
        )
        now = utc_now()
        rows = [
            {
                "adapter_id": new.adapter_id,
                "model_key": new.model_key,
                "text_digest": new.text_digest,
                "adapter_updated_at": new.adapter_updated_at,
                "text_vector": new.text_vector,
                "tags_vector": new.tags_vector,
                "problem": new.problem,
                "made_at": now,
                "revision": revision,
            }
            for new in texts
            if new.adapter_id in alive
        ]
        if rows:
            self._writing.execute(insert(TextVectors), rows)

    def confirm(self, updated_at: Mapping[str, str]) -> None:
        """Note that the texts of these adapters are the same as of this `updated_at`."""
        statement = (
            update(TextVectors.__table__)  # type: ignore[arg-type]
            .where(TextVectors.adapter_id == bindparam("of"))
            .values(adapter_updated_at=bindparam("as_of"))
        )
        rows = [{"of": adapter_id, "as_of": moment} for adapter_id, moment in updated_at.items()]
        if rows:
            self._writing.connection().execute(statement, rows)


def _unsure(model_key: str) -> ColumnElement[bool]:
    return or_(
        TextVectors.adapter_id.is_(None),
        TextVectors.model_key != model_key,
        TextVectors.adapter_updated_at != Adapter.updated_at,
    )


def text_state(model_key: str | None) -> ColumnElement[str]:
    """`missing, stale, failed, no_text` or `current`, for adapters joined with their vectors.

    One changed in whatever way since counts as stale; the job finds out what that means. Without a
    model that could make new ones, those that are there count as they are.
    """
    changed: ColumnElement[bool] = TextVectors.adapter_updated_at != Adapter.updated_at
    if model_key is not None:
        changed = or_(changed, TextVectors.model_key != model_key)
    return case(
        (TextVectors.adapter_id.is_(None), "missing"),
        (changed, "stale"),
        (TextVectors.problem.is_not(None), "failed"),
        (and_(TextVectors.text_vector.is_(None), TextVectors.tags_vector.is_(None)), "no_text"),
        else_="current",
    )

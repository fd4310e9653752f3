"""The job that embeds the texts of adapters: whatever is missing, or no longer true."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.embeddings.text import Texts, adapter_texts
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.embeddings.turns import ComputeTurns
from lora_manager_core.errors import EmbeddingUnavailable, ExtraNotInstalled, LoraManagerError
from lora_manager_core.queueing.base import JobContext, JobProgress
from lora_manager_core.recommendations.vectors.jobs import (
    Pace,
    VectorJob,
    VectorOrder,
    VectorReport,
)
from lora_manager_core.recommendations.vectors.repository import (
    NewText,
    TextVectorStore,
    TextVectorWriter,
    adapter_text_rows,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

TEXT_JOB = "embeddings.text"
#: Adapters whose texts are made, ordered by length and embedded together, and those per commit.
_WINDOW = 2000
_BATCH = 32
#: Anything a model can embed: tells a text that cannot be embedded from a model that is broken.
_PROBE = "a picture"
#: What tokenizers and torch raise for a text they cannot take.
_TEXT_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError)


@dataclass(frozen=True, slots=True)
class _Due:
    adapter_id: str
    updated_at: str
    texts: Texts


class TextJob(VectorJob):
    """Embeds adapters with the best model there is, in batches that are stored one by one."""

    kind = TEXT_JOB

    def __init__(self, database: Database, tiers: TextTiers, turns: ComputeTurns) -> None:
        self._database = database
        self._tiers = tiers
        self._turns = turns

    def unavailable(self) -> LoraManagerError | None:
        """The extra that is missing, or why the model could not be loaded before."""
        embedder = self._tiers.wanted()
        if embedder is None:
            return ExtraNotInstalled(self._tiers.hint() or "There is no text model.")
        state = embedder.state()
        if state.status == "failed":
            return EmbeddingUnavailable(state.problem or "The text model cannot be loaded.")
        return None

    def is_due(self, session: ReadSession) -> bool:
        """Whether an adapter was added or changed in whatever way since its texts were seen."""
        embedder = self._tiers.wanted()
        if embedder is None:
            return False
        key = embedder.known_key
        store = TextVectorStore(session)
        return store.any_adapter() if key is None else store.any_unsure(key)

    def counts(self, session: ReadSession) -> Mapping[str, int]:
        """Adapters by the state of their texts."""
        embedder = self._tiers.wanted()
        return TextVectorStore(session).counts(embedder.known_key if embedder else None)

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Embed what the order names, or what is due.

        Raises:
            ExtraNotInstalled, EmbeddingUnavailable: there is no model, or it does not work.
        """
        started = time.monotonic()
        problem = self.unavailable()
        embedder = self._tiers.wanted()
        if problem is not None or embedder is None:
            raise problem or ExtraNotInstalled("There is no text model.")
        context.report(JobProgress(0.0, message="Loading the text model"))
        embedder.load()
        order, report = VectorOrder.of(context.payload), VectorReport()
        candidates, digests = self._candidates(order, embedder.key)
        pace = Pace(context, len(candidates), "texts")
        try:
            for start in range(0, len(candidates), _WINDOW):
                window = candidates[start : start + _WINDOW]
                due = self._due(context, window, digests)
                report.skipped += len(window) - len(due)
                pace.skip(len(window) - len(due))
                due.sort(key=lambda one: len(one.texts.text))
                size = order.batch_size or _BATCH
                for first in range(0, len(due), size):
                    self._embed(context, embedder, due[first : first + size], report)
                    pace.add(len(due[first : first + size]))
        finally:
            embedder.leave_device()
        report.duration_s = round(time.monotonic() - started, 3)
        return asdict(report)

    def _candidates(self, order: VectorOrder, key: str) -> tuple[list[str], dict[str, str]]:
        """Ids to look at, and by id the digest of texts that need not be embedded again."""
        with self._database.read() as session:
            store = TextVectorStore(session)
            if order.adapter_ids is not None:
                ids = list(dict.fromkeys(order.adapter_ids))
            else:
                ids = store.all_ids() if order.force else store.unsure_ids(key)
            return ids, {} if order.force else store.digests(key)

    def _due(
        self, context: JobContext, ids: Sequence[str], digests: Mapping[str, str]
    ) -> list[_Due]:
        """Those whose texts are not what was embedded; of the others it is noted when."""
        context.raise_if_cancelled()
        with self._database.read() as session:
            rows = adapter_text_rows(session, ids)
        due: list[_Due] = []
        confirmed: dict[str, str] = {}
        for row in rows:
            texts = adapter_texts(row.fields)
            if digests.get(row.adapter_id) == texts.digest:
                confirmed[row.adapter_id] = row.updated_at
            else:
                due.append(_Due(row.adapter_id, row.updated_at, texts))
        if confirmed:
            with self._database.write() as write:
                TextVectorWriter(write).confirm(confirmed)
        return due

    def _embed(
        self,
        context: JobContext,
        embedder: TextEmbedder,
        batch: Sequence[_Due],
        report: VectorReport,
    ) -> None:
        context.raise_if_cancelled()
        device = self._turns.device(embedder.memory_needed)
        key = embedder.key
        with self._turns.turn(device, context.is_cancelled):
            try:
                made = self._vectors(embedder, batch, device)
            except _TEXT_ERRORS:
                _log.warning("a batch of texts was not embedded at once", exc_info=True)
                made = self._one_by_one(embedder, batch, device)
        rows = [_row(one, key, found) for one, found in zip(batch, made, strict=True)]
        for row in rows:
            if row.problem is not None:
                report.note(row.adapter_id, row.problem)
        with self._database.write() as session:
            TextVectorWriter(session).put(rows)
        report.computed += len(rows)

    def _vectors(
        self, embedder: TextEmbedder, batch: Sequence[_Due], device: str
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]] | str]:
        texts = embedder.encode_batch([one.texts.text for one in batch], device)
        tags = embedder.encode_batch([one.texts.tags for one in batch], device)
        return list(zip(texts, tags, strict=True))

    def _one_by_one(
        self, embedder: TextEmbedder, batch: Sequence[_Due], device: str
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]] | str]:
        """The same where one text cannot be embedded; what it is told instead of its vectors."""
        try:
            embedder.encode_batch([_PROBE], device)
        except _TEXT_ERRORS as error:
            raise EmbeddingUnavailable(
                f"The text model fails: {type(error).__name__}: {str(error)[:300]}."
            ) from error
        made: list[tuple[NDArray[np.float32], NDArray[np.float32]] | str] = []
        for one in batch:
            try:
                made += self._vectors(embedder, [one], device)
            except _TEXT_ERRORS as error:
                made.append(f"The model does not take this text: {str(error)[:300]}")
        return made


def _row(
    due: _Due, key: str, made: tuple[NDArray[np.float32], NDArray[np.float32]] | str
) -> NewText:
    """What is stored of one adapter; a vector that is not finite is a problem."""
    if not isinstance(made, str):
        text, tags = made
        if bool((text == text).all() and (tags == tags).all()):  # NaN is not equal to itself
            return NewText(
                due.adapter_id,
                due.updated_at,
                key,
                due.texts.digest,
                text.astype("<f2").tobytes() if due.texts.text else None,
                tags.astype("<f2").tobytes() if due.texts.tags else None,
            )
        made = "The model gives no finite vector for this text."
    return NewText(due.adapter_id, due.updated_at, key, due.texts.digest, problem=made)

"""The job that makes the quick word vectors from the text model, once for each model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.embeddings.static import StaticEmbedder, distil
from lora_manager_core.embeddings.turns import ComputeTurns
from lora_manager_core.errors import EmbeddingUnavailable, LoraManagerError
from lora_manager_core.queueing.base import EMBEDDING_LANE, JobContext, JobProgress
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.recommendations.vectors.jobs import VectorJob
from lora_manager_core.recommendations.vectors.text_job import TEXT_JOB

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _GaveWay(Exception):
    """Somebody waits for embeddings."""


class WordVectorsJob(VectorJob):
    """Begins after texts were embedded, while the model is in memory anyway.

    It ends without a result as soon as another job of its lane waits, and begins anew after that.
    """

    kind = "embeddings.words"
    follows = TEXT_JOB

    def __init__(
        self,
        database: Database,
        model: SentenceEmbedder,
        static: StaticEmbedder,
        turns: ComputeTurns,
    ) -> None:
        self._database = database
        self._model = model
        self._static = static
        self._turns = turns
        #: Models whose vocabulary cannot be distilled, by fingerprint.
        self._impossible: set[str | None] = set()

    def unavailable(self) -> LoraManagerError | None:
        """Only what is in memory is distilled."""
        if self._model.state().status == "ready":
            return None
        return EmbeddingUnavailable("The text model is not loaded.")

    def is_due(self, session: ReadSession) -> bool:
        """Whether there are none of this model yet."""
        return (
            self._static.state().status == "absent"
            and self._model.fingerprint not in self._impossible
        )

    def counts(self, session: ReadSession) -> Mapping[str, int]:
        """Nothing of it belongs to an adapter."""
        return {}

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Encode the vocabulary; some minutes on a slow machine. Killed, it begins anew."""
        started = time.monotonic()

        def _encode(tokens: Sequence[str]) -> NDArray[np.float32]:
            device = self._turns.device(self._model.memory_needed)
            with self._turns.turn(device, context.is_cancelled):
                return self._model.encode_batch(tokens, device)

        def _report(fraction: float) -> None:
            context.raise_if_cancelled()
            if self._somebody_waits():
                raise _GaveWay
            context.report(JobProgress(fraction, message="Making quick word vectors"))

        try:
            made = distil(self._static, self._model, _encode, _report)
            if not made:
                self._impossible.add(self._model.fingerprint)
        except _GaveWay:
            made = False
        except OSError as error:
            raise EmbeddingUnavailable(
                f"The word vectors cannot be stored in {self._static.file}: "
                f"{error.strerror or error}."
            ) from error
        finally:
            self._model.leave_device()
        return {"made": made, "duration_s": round(time.monotonic() - started, 3)}

    def _somebody_waits(self) -> bool:
        with self._database.read() as session:
            return any(lane == EMBEDDING_LANE for lane, _ in JobStore(session).list_due())

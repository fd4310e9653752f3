"""Composes a set of adapters for a prompt, and makes it the active set."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lora_manager_core.adapters.active_set import ActiveSetService
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.base_labels import normalise_label
from lora_manager_core.common.clock import utc_now
from lora_manager_core.compose.service import token_of
from lora_manager_core.db.models import Adapter, FeedbackEvent
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.prompts import segments, words_of
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.errors import EmbeddingUnavailable, InvalidRequest, SessionNotFound
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.weights import WEIGHTS
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.sets.compatibility import CompatibilityService
from lora_manager_core.recommendations.sets.repository import SetRows
from lora_manager_core.recommendations.sets.schemas import (
    ChosenAdapter,
    CompatibilityRequest,
    ComposedSet,
    ComposeSetRequest,
    PassedOver,
    SetActivated,
)
from lora_manager_core.recommendations.sets.weighing import weight_for
from lora_manager_core.recommendations.taste.repository import FeedbackWriter
from lora_manager_core.recommendations.taste.scores import Taste
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.taste.signals import ACTIVATED
from lora_manager_core.stacks.service import StackService

if TYPE_CHECKING:
    from lora_manager_core.recommendations.answers.parts import Scores
    from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
    from lora_manager_core.recommendations.sets.choosing import Choice

#: The kind of session of a composed set; what it shows are triples with the weight.
COMPOSED = "compose"


class SetService:
    """`loaded_base_model` gives that of the loaded checkpoint, or None if unknown."""

    def __init__(
        self,
        database: Database,
        index: CatalogueIndex,
        tiers: TextTiers,
        taste: Taste,
        queries: QueryVectors,
        sessions: SessionLog,
        compatibility: CompatibilityService,
        active_set: ActiveSetService,
        stacks: StackService,
        loaded_base_model: Callable[[], str | None],
    ) -> None:
        self._database = database
        self._index = index
        self._tiers = tiers
        self._taste = taste
        self._queries = queries
        self._sessions = sessions
        self._compatibility = compatibility
        self._active_set = active_set
        self._stacks = stacks
        self._loaded_base_model = loaded_base_model

    def compose(self, request: ComposeSetRequest, user: str) -> ComposedSet:
        """A set for a prompt, with weights, reasons and risks; made the active set if asked.

        Raises:
            InvalidRequest: the prompt is empty, or nothing was found that could be made active or
                saved.
            NameTaken: a stack of the name it was to be saved as is here; nothing was done.
        """
        from lora_manager_core.recommendations.sets.choosing import choose

        started = time.perf_counter()
        if not request.prompt.strip():
            raise InvalidRequest("The prompt is empty; say what the picture is to show.")
        asked = request.base_model and request.base_model.strip()
        base_model = (normalise_label(asked) or asked) if asked else self._loaded_base_model()
        snapshot = self._index.snapshot()
        parts = segments(request.prompt).parts
        vectors, problem = self._vectors(snapshot, parts)
        taste = self._taste.scores(snapshot, user, snapshot.key)
        made = choose(snapshot, parts, vectors, base_model, taste, WEIGHTS, request.limit)
        with self._database.read() as session:
            ids = [choice.entry.id for choice in made.chosen]
            records = {adapter.id: adapter for adapter in Adapters(session).get_many(ids)}
            usual = SetRows(session).usual_weights(ids)
            chosen = [c for c in made.chosen if c.entry.id in records]
            adapters = [
                _chosen(choice, records[choice.entry.id], usual, len(chosen), request.prompt)
                for choice in chosen
            ]
        judged = None
        if adapters:
            judged = self._compatibility.check(
                CompatibilityRequest(
                    adapter_ids=[adapter.lora_id for adapter in adapters],
                    weights={adapter.lora_id: adapter.weight for adapter in adapters},
                )
            )
        mode = snapshot.embedder.mode if vectors is not None and snapshot.embedder else "lexical"
        hints = [problem, _why_empty(snapshot, parts) if not adapters else None]
        if mode != "semantic":
            hints.append(self._tiers.hint())
        duration_ms = (time.perf_counter() - started) * 1000
        session_id = self._sessions.open(
            COMPOSED,
            request.prompt,
            None,
            mode,
            [(adapter.lora_id, adapter.score, adapter.weight) for adapter in adapters],
            duration_ms,
        )
        stack_id = self._save(request, adapters)
        if request.activate:
            self.activate(session_id, user)
        tokens = [adapter.token for adapter in adapters]
        return ComposedSet(
            session_id=session_id,
            mode=mode,
            hint=" ".join(hint for hint in hints if hint) or None,
            base_model=base_model,
            prompt=" ".join([request.prompt.strip(), *tokens]),
            tokens=tokens,
            adapters=adapters,
            passed_over=[
                PassedOver(lora_id=entry.id, lora_name=entry.name, segment=part, reason=reason)
                for entry, part, reason in made.passed_over
            ],
            risks=judged.risks if judged else [],
            compatibility=judged,
            activated=request.activate,
            stack_id=stack_id,
            processing_time_ms=duration_ms,
        )

    def activate(self, session_id: str, user: str) -> SetActivated:
        """Make a set that was composed the active set, with its weights; that is logged as taken.

        Raises:
            SessionNotFound: no such set, or it is not kept any more.
            InvalidRequest: there is nothing in it.
            AdapterNotFound: an adapter of it is gone; nothing was changed.
        """
        self._sessions.flush()
        with self._database.read() as session:
            row = SetRows(session).session(session_id, COMPOSED)
            if row is None:
                raise SessionNotFound(
                    f"There is no composed set with the session id {session_id}; compose it again."
                )
            weights = {adapter_id: weight for adapter_id, _, weight in row.shown}
        if not weights:
            raise InvalidRequest(
                "There is no adapter in this set, so nothing was made active; describe the "
                "picture in other words, or add LoRAs that fit it."
            )
        self._active_set.take(weights)
        with self._database.write() as writing:
            log = FeedbackWriter(writing)
            for adapter_id in weights:
                log.add(
                    FeedbackEvent(
                        id=str(uuid.uuid4()),
                        user=user,
                        kind=ACTIVATED,
                        adapter_id=adapter_id,
                        session_id=session_id,
                        implicit=True,
                        created_at=utc_now(),
                    )
                )
        return SetActivated(session_id=session_id, lora_ids=list(weights))

    def _save(self, request: ComposeSetRequest, adapters: Sequence[ChosenAdapter]) -> str | None:
        if request.save_as is None:
            return None
        if not adapters:
            raise InvalidRequest("No adapter was found for this prompt, so no stack was saved.")
        weights = [(adapter.lora_id, adapter.weight) for adapter in adapters]
        return self._stacks.save_set(request.save_as, f"Composed for: {request.prompt}", weights)

    def _vectors(
        self, snapshot: Snapshot, parts: Sequence[str]
    ) -> tuple[Scores | None, str | None]:
        """A vector for each part; why not, where that is to be said."""
        if snapshot.embedder is None or not parts:
            return None, None
        try:
            return self._queries.encode(snapshot.embedder, parts), None
        except EmbeddingUnavailable as error:
            return None, f"Compared by words alone: {error.detail}"


def _chosen(
    choice: Choice,
    adapter: Adapter,
    usual: dict[str, tuple[float, int]],
    in_set: int,
    prompt: str,
) -> ChosenAdapter:
    weight, source, why = weight_for(choice.entry, usual, in_set)
    asked = f" {' '.join(words_of(prompt))} "
    missing = [t for t in choice.entry.triggers if f" {' '.join(words_of(t))} " not in asked]
    return ChosenAdapter(
        lora_id=adapter.id,
        lora_name=adapter.name,
        segment=choice.segment,
        role=choice.role,
        score=choice.score,
        weight=weight,
        weight_source=source,
        token=token_of(adapter, weight),
        trigger_words=missing,
        reasons=[*choice.reasons, f"Weight {weight:g}: {why}."],
    )


def _why_empty(snapshot: Snapshot, parts: Sequence[str]) -> str:
    if not snapshot.entries:
        return "The library is empty; scan a folder with LoRAs first."
    if not parts:
        return "The prompt has no words to look for; describe what the picture shows."
    return "No adapter fits any part of the prompt well enough."

"""How it stands with the embeddings of single adapters, of both kinds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import func, select

from lora_manager_core.db.models import Adapter, TextVectors, WeightSketch
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.recommendations.vectors.repository import text_state
from lora_manager_core.recommendations.vectors.sketch_repository import weight_state

_NO_FILE = (
    "There is no file to read: it is missing, damaged, or no .safetensors file; other formats may "
    "run code when they are opened."
)


@dataclass(frozen=True, slots=True)
class TextState:
    """The texts of one adapter; `made_at` is when the vectors were made."""

    state: Literal["current", "stale", "missing", "failed", "no_text"]
    problem: str | None
    model_key: str | None
    made_at: str | None
    has_text: bool
    has_tags: bool


@dataclass(frozen=True, slots=True)
class WeightState:
    """The weights of one adapter; `profile` is `weights.profile.Profile` as JSON."""

    state: Literal["current", "stale", "missing", "failed", "no_file"]
    problem: str | None
    made_at: str | None
    has_sketch: bool
    profile: dict[str, Any] | None
    approximate: bool


@dataclass(frozen=True, slots=True)
class Written:
    """Of how many adapters something was computed, and of how many nothing had to be."""

    computed: int = 0
    untouched: int = 0


class EmbeddingStates:
    """Reads states from both tables."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def text(self, adapter_id: str, model_key: str | None) -> TextState | None:
        """Of one adapter's texts; None if there is no such adapter."""
        query = (
            select(
                text_state(model_key),
                TextVectors.problem,
                TextVectors.model_key,
                TextVectors.made_at,
                TextVectors.text_vector.is_not(None),
                TextVectors.tags_vector.is_not(None),
            )
            .select_from(Adapter)
            .outerjoin(TextVectors, TextVectors.adapter_id == Adapter.id)
            .where(Adapter.id == adapter_id)
        )
        row = self._session.execute(query).first()
        if row is None:
            return None
        state, problem, key, made_at, has_text, has_tags = row
        known = cast('Literal["current", "stale", "missing", "failed", "no_text"]', state)
        return TextState(known, problem, key, made_at, bool(has_text), bool(has_tags))

    def weights(self, adapter_id: str, method: int) -> WeightState | None:
        """Of one adapter's weights; None if there is no such adapter."""
        query = (
            select(
                weight_state(method),
                WeightSketch.problem,
                WeightSketch.made_at,
                WeightSketch.sketch.is_not(None),
                WeightSketch.profile,
                func.coalesce(WeightSketch.approximate, False),
            )
            .select_from(Adapter)
            .outerjoin(WeightSketch, WeightSketch.adapter_id == Adapter.id)
            .where(Adapter.id == adapter_id)
        )
        row = self._session.execute(query).first()
        if row is None:
            return None
        state, problem, made_at, has_sketch, profile, approximate = row
        known = cast('Literal["current", "stale", "missing", "failed", "no_file"]', state)
        if known == "no_file":
            problem = _NO_FILE
        return WeightState(known, problem, made_at, bool(has_sketch), profile, bool(approximate))

    def written_since(self, revision: int, adapter_ids: Collection[str] | None) -> Written:
        """What was written of these adapters (None: all) after that value of the counter."""
        found: set[str] = set()
        for table in (TextVectors, WeightSketch):
            query = select(table.adapter_id).where(table.revision > revision)
            found.update(self._session.scalars(query))
        if adapter_ids is None:
            total = int(self._session.scalar(select(func.count(Adapter.pk))) or 0)
        else:
            total = len(adapter_ids)
            found &= set(adapter_ids)
        return Written(len(found), total - len(found))

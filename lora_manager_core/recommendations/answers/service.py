"""Answers which adapters go with a prompt, are like another one, or have a trigger."""

from __future__ import annotations

from lora_manager_core.recommendations.answers.schemas import (
    ForPromptRequest,
    RecommendationAnswer,
    SimilarQuery,
    TriggerQuery,
)


class RecommendationService:
    """One method per question; `user` is whose taste counts, empty where there are no users."""

    def for_prompt(self, request: ForPromptRequest, user: str = "") -> RecommendationAnswer:
        """Adapters that fit a prompt, best first.

        Raises:
            InvalidRequest: the prompt is empty.
        """
        raise NotImplementedError

    def similar(self, lora_id: str, asked: SimilarQuery, user: str = "") -> RecommendationAnswer:
        """Adapters like one adapter, most alike first.

        Raises:
            AdapterNotFound: there is no such adapter.
            InvalidRequest: all weights are 0.
        """
        raise NotImplementedError

    def by_trigger(self, asked: TriggerQuery, user: str = "") -> RecommendationAnswer:
        """Adapters with that trigger: the very words first, then parts and spellings of them.

        Raises:
            InvalidRequest: the query is empty.
        """
        raise NotImplementedError

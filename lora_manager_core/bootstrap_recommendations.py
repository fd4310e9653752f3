"""Puts recommendations together: text models, their jobs, the index, answers, taste and sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lora_manager_core.adapters.active_set import ActiveSetService
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.local_turns import LocalTurns
from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.embeddings.static import StaticEmbedder
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.embeddings.turns import ComputeTurns
from lora_manager_core.library.alike.duplicates import DuplicatesService
from lora_manager_core.library.alike.equal import EqualFiles
from lora_manager_core.queueing.base import (
    EMBEDDING_LANE,
    GPU_LANE,
    JobQueue,
)
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.waiting import JobWaiting
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.service import RecommendationService
from lora_manager_core.recommendations.answers.status import RecommendationStatus
from lora_manager_core.recommendations.answers.times import AnswerTimes
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.catalogue.warm_up import WarmUp
from lora_manager_core.recommendations.sets.compatibility import CompatibilityService
from lora_manager_core.recommendations.sets.duplicates import WeightDuplicates
from lora_manager_core.recommendations.sets.service import SetService
from lora_manager_core.recommendations.taste.feedback import FeedbackService
from lora_manager_core.recommendations.taste.preferences import PreferenceService
from lora_manager_core.recommendations.taste.scores import Taste
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.vectors.embeddings import EmbeddingService
from lora_manager_core.recommendations.vectors.jobs import VectorJob
from lora_manager_core.recommendations.vectors.service import VectorService
from lora_manager_core.recommendations.vectors.sketch_job import SketchJob
from lora_manager_core.recommendations.vectors.text_job import TextJob
from lora_manager_core.recommendations.vectors.word_vectors_job import WordVectorsJob
from lora_manager_core.settings import Settings
from lora_manager_core.stacks.service import StackService
from lora_manager_core.web.deps import ServiceRegistry


def add_embeddings(
    services: ServiceRegistry,
    runner: JobRunner,
    queue: JobQueue,
    turns: ComputeTurns | None,
    text_tiers: TextTiers | None,
) -> None:
    """The text models, and the jobs and answers about embeddings.

    `turns` and `text_tiers` are what a home brings along; None means those of a server of its own.
    """
    database, jobs, settings = services.get(Database), services.get(Jobs), services.get(Settings)
    turns = turns or LocalTurns(partial(runner.runs, GPU_LANE))
    folder = settings.data_dir / "models"
    model = SentenceEmbedder(ModelFiles(settings.embedding_model), PrecisionMemory(folder))
    static = StaticEmbedder(folder, model)
    tiers = services.add(text_tiers or TextTiers(model, static))
    text_job = TextJob(database, tiers, turns)
    sketch_job = SketchJob(database, turns)
    kinds: list[VectorJob] = [text_job, sketch_job]
    if text_tiers is None:
        kinds.append(WordVectorsJob(database, model, static, turns))
    vectors = services.add(VectorService(database, jobs, runner, kinds, settings.auto_embed))
    waiting = JobWaiting(jobs, queue, EMBEDDING_LANE, "Embedding job failed")
    services.add(
        EmbeddingService(
            database, vectors, waiting, tiers, {"text": text_job, "weights": sketch_job}
        )
    )


def add_recommendations(
    services: ServiceRegistry,
    roots: Callable[[], Sequence[Path]],
    active_set: ActiveSetService,
    loaded_base_model: Callable[[], str | None],
) -> None:
    """What recommends adapters and sets of them, learns from feedback, and tells how well."""
    database, tiers = services.get(Database), services.get(TextTiers)
    sessions = services.add(SessionLog(database))
    taste = services.add(Taste(database))
    services.add(FeedbackService(database, sessions))
    services.add(PreferenceService(database, taste))
    index = services.add(CatalogueIndex(database, tiers, services.get(VectorService).catch_up))
    services.add(WarmUp(database, index))
    times, queries = AnswerTimes(), services.add(QueryVectors())
    services.add(
        RecommendationService(
            database, index, tiers, taste, sessions, loaded_base_model, times, queries
        )
    )
    services.add(RecommendationStatus(database, index, tiers, times, queries))
    compatibility = services.add(CompatibilityService(database, roots))
    services.add(
        DuplicatesService(
            {"hash": EqualFiles(database), "weights": WeightDuplicates(database, index)}
        )
    )
    services.add(
        SetService(
            database,
            index,
            tiers,
            taste,
            queries,
            sessions,
            compatibility,
            active_set,
            services.get(StackService),
            loaded_base_model,
        )
    )

"""Every table of the project; importing this fills `Base.metadata`."""

from lora_manager_core.db.models.adapter import Adapter, AdapterTag, Counter, ExcludedFile
from lora_manager_core.db.models.base import Base
from lora_manager_core.db.models.housekeeping import BinnedFile, LookUp, UndoEntry
from lora_manager_core.db.models.job import ApiKey, Choice, Job, JobAttempt
from lora_manager_core.db.models.organised import (
    Collection,
    CollectionAdapter,
    Stack,
    StackedAdapter,
)
from lora_manager_core.db.models.recommendation import (
    FEEDBACK_KINDS,
    PREFERENCE_KINDS,
    FeedbackEvent,
    Preference,
    RecommendationSession,
    TextVectors,
    WeightSketch,
)
from lora_manager_core.db.models.result import GenerationRun, Result, ResultImage, RunAdapter

__all__ = [
    "FEEDBACK_KINDS",
    "PREFERENCE_KINDS",
    "Adapter",
    "AdapterTag",
    "ApiKey",
    "Base",
    "BinnedFile",
    "Choice",
    "Collection",
    "CollectionAdapter",
    "Counter",
    "ExcludedFile",
    "FeedbackEvent",
    "GenerationRun",
    "Job",
    "JobAttempt",
    "LookUp",
    "Preference",
    "RecommendationSession",
    "Result",
    "ResultImage",
    "RunAdapter",
    "Stack",
    "StackedAdapter",
    "TextVectors",
    "UndoEntry",
    "WeightSketch",
]

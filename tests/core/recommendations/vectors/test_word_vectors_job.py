"""The job that makes word vectors: once for each model, and never in somebody's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.static import StaticEmbedder
from lora_manager_core.queueing.base import EMBEDDING_LANE, JobCancelled
from lora_manager_core.queueing.store import JobWriter
from lora_manager_core.recommendations.vectors.word_vectors_job import WordVectorsJob
from tests.fakes.running_job import FakeContext
from tests.fakes.text_models import FakeEmbedder, FreeTurns

#: More tokens than are encoded at once.
_WORDS = [f"word{number}" for number in range(600)]


class TokenModel(FakeEmbedder):
    """The fake model with a vocabulary of 600 words; `tokenizer` None: it has none."""

    fingerprint = "0123456789ab"

    def __init__(self) -> None:
        super().__init__()
        tokenizers = pytest.importorskip("tokenizers", reason="the `semantic` extra is missing")
        vocabulary = {word: index for index, word in enumerate(["[UNK]", *_WORDS])}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        self.tokenizer: bytes | None = tokenizer.to_str().encode()
        self.load()

    def tokenizer_json(self) -> bytes | None:
        return self.tokenizer


@pytest.fixture
def model() -> TokenModel:
    return TokenModel()


@pytest.fixture
def static(tmp_path: Path, model: TokenModel) -> StaticEmbedder:
    return StaticEmbedder(tmp_path / "models", model)


@pytest.fixture
def job(database: Database, model: Any, static: StaticEmbedder) -> WordVectorsJob:
    return WordVectorsJob(database, model, static, FreeTurns())


def is_due(job: WordVectorsJob, database: Database) -> bool:
    with database.read() as session:
        return job.is_due(session)


def test_makes_them_once(job: WordVectorsJob, database: Database, static: StaticEmbedder) -> None:
    assert is_due(job, database)

    assert job.run(FakeContext())["made"] is True

    assert not is_due(job, database)
    assert static.encode(["word1 word2"]).any()


def test_waits_for_a_model_that_is_in_memory(job: WordVectorsJob, model: TokenModel) -> None:
    assert job.unavailable() is None

    model.unload()

    assert job.unavailable() is not None


def test_a_model_without_a_vocabulary_is_not_tried_again(
    job: WordVectorsJob, database: Database, model: TokenModel
) -> None:
    model.tokenizer = None

    assert job.run(FakeContext())["made"] is False

    assert not is_due(job, database)


def test_gives_way_to_a_job_that_somebody_waits_for(
    job: WordVectorsJob, database: Database, model: TokenModel
) -> None:
    with database.write() as session:
        JobWriter(session).create("embeddings.text", EMBEDDING_LANE, {})

    assert job.run(FakeContext())["made"] is False

    assert model.batches == []
    assert is_due(job, database), "it begins anew after that job"


def test_can_be_cancelled(job: WordVectorsJob, static: StaticEmbedder) -> None:
    with pytest.raises(JobCancelled):
        job.run(FakeContext(cancelled=True))

    assert static.file is not None
    assert not static.file.exists()


def test_says_where_it_cannot_store_them(
    job: WordVectorsJob, static: StaticEmbedder, tmp_path: Path
) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")

    with pytest.raises(Exception, match="cannot be stored") as raised:
        job.run(FakeContext())

    assert getattr(raised.value, "code", None) == "embedding_unavailable"

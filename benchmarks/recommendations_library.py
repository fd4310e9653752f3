"""The described adapters as the library of a real application, embedded by its own job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from recommendations_set import DEPTH, Document, Query

from lora_manager_core.adapters.schemas import AdapterCreate
from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.bootstrap import Application, Parts, build_application
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.embeddings.static import StaticEmbedder, distil
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.queueing.base import SUCCEEDED
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.schemas import ForPromptRequest, SimilarQuery
from lora_manager_core.recommendations.answers.service import RecommendationService
from lora_manager_core.recommendations.answers.times import AnswerTimes
from lora_manager_core.recommendations.answers.weights import WEIGHTS, ScoreWeights
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.taste.scores import Taste
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.vectors.embeddings import EmbeddingService
from lora_manager_core.recommendations.vectors.schemas import EmbeddingRequest
from lora_manager_core.recommendations.vectors.text_job import TEXT_JOB
from lora_manager_core.settings import Settings


class DescribedLibrary:
    """An application whose library has the documents; `model` is its text model."""

    def __init__(self, application: Application, model: SentenceEmbedder, ids: Mapping[str, str]):
        self._services = application.services
        self._database = application.services.get(Database)
        self._static = StaticEmbedder(application.settings.data_dir / "models", model)
        self._sessions = SessionLog(self._database)
        self.model = model
        #: Adapter id by name.
        self.ids = ids

    def embed(self) -> float:
        """Embed all texts with the real job, though they be current; seconds of the job."""
        self.model.load()
        embeddings = self._services.get(EmbeddingService)
        embeddings.compute(EmbeddingRequest(compute_all=True, force_recompute=True))
        with self._database.read() as session:
            job = JobStore(session).newest(TEXT_JOB, SUCCEEDED)
        assert job is not None
        assert job.result is not None
        return float(job.result["duration_s"])

    def semantic(self) -> Answers:
        """Answers by the text model."""
        return Answers(self._database, TextTiers(self.model), self._sessions)

    def static(self) -> Answers:
        """Answers by the vectors of words, which are distilled first."""
        encode = self.model.encode_batch
        distil(self._static, self.model, lambda tokens: encode(tokens, "cpu"), lambda _: None)
        self._static.load()
        return Answers(self._database, TextTiers(None, self._static), self._sessions)

    def lexical(self) -> Answers:
        """Answers by words alone."""
        return Answers(self._database, TextTiers(None), self._sessions)

    def close(self) -> None:
        """Write what is still to be written."""
        self._sessions.stop()


class Answers:
    """The real service over one catalogue in memory, with weights that may change."""

    def __init__(self, database: Database, tiers: TextTiers, sessions: SessionLog) -> None:
        self._database = database
        self._tiers = tiers
        self._sessions = sessions
        self._index = CatalogueIndex(database, tiers, lambda: None)
        self._queries = QueryVectors()

    def rank(
        self, queries: Sequence[Query], weights: ScoreWeights = WEIGHTS, diversify: bool = False
    ) -> list[list[str]]:
        """Names of the best for each query, best first."""
        service = self._service(weights)
        return [
            [
                item.lora_name
                for item in service.for_prompt(
                    ForPromptRequest(
                        prompt=query.text,
                        limit=DEPTH,
                        diversify_results=diversify,
                        include_explanations=False,
                    )
                ).recommendations
            ]
            for query in queries
        ]

    def similar(self, adapter_id: str, count: int) -> list[str]:
        """Names of the most alike by text and tags; the files are no LoRAs of anything."""
        asked = SimilarQuery(limit=count, diversify_results=False, weight_technical=0)
        answer = self._service(WEIGHTS).similar(adapter_id, asked)
        return [item.lora_name for item in answer.recommendations]

    def _service(self, weights: ScoreWeights) -> RecommendationService:
        return RecommendationService(
            self._database,
            self._index,
            self._tiers,
            Taste(self._database),
            self._sessions,
            lambda: None,
            AnswerTimes(),
            self._queries,
            weights,
        )


@contextmanager
def described_library(folder: Path, documents: Sequence[Document]) -> Iterator[DescribedLibrary]:
    """The library in a new application, nothing embedded yet."""
    loras, data = folder / "loras", folder / "data"
    model = SentenceEmbedder(ModelFiles(None), PrecisionMemory(data / "models"))
    settings = Settings(
        data_dir=data,
        library_roots=(loras,),
        import_path=folder / "imports",
        auto_embed=False,
        auto_hash=False,
    )
    application = build_application(settings, Parts(text_tiers=TextTiers(model)))
    application.start()
    try:
        adapters = application.services.get(AdapterService)
        ids = {
            document.name: adapters.create(_request(document, write_file(loras, number)))["id"]
            for number, document in enumerate(documents)
        }
        library = DescribedLibrary(application, model, ids)
        yield library
        library.close()
    finally:
        application.stop()


def write_file(folder: Path, number: int) -> Path:
    """A safetensors file with one small module; what it does is not what is measured."""
    module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    content = number.to_bytes(4, "little") * 16
    half = len(content) // 2
    header = {
        f"{module}.lora_down.weight": _tensor([1, 16], 0, half),
        f"{module}.lora_up.weight": _tensor([16, 1], half, 2 * half),
    }
    head = json.dumps(header).encode()
    path = folder / f"adapter-{number:05}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(head).to_bytes(8, "little") + head + content)
    return path


def _tensor(shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}


def _request(document: Document, path: Path) -> AdapterCreate:
    return AdapterCreate(
        name=document.name,
        file_path=str(path),
        description=document.description,
        tags=list(document.tags),
        trained_words=list(document.trained_words),
        base_model=document.base_model,
        notes=document.notes,
    )

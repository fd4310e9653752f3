"""A process that is killed while it embeds loses at most the batch it was at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.base import SUCCEEDED
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.recommendations.vectors.repository import TextVectorStore
from lora_manager_core.recommendations.vectors.text_job import TEXT_JOB
from tests.core.conftest import Home
from tests.fakes.text_models import FakeEmbedder

PROJECT = Path(__file__).resolve().parents[4]
#: Embeds one adapter at a time and ends at the second one, as a kill would end it.
_PROGRAM = """
import json, os, sys
from lora_manager_core.bootstrap import Parts, build_application
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.recommendations.vectors.embeddings import EmbeddingService
from lora_manager_core.recommendations.vectors.schemas import EmbeddingRequest
from lora_manager_core.settings import Settings
from tests.fakes.backend import FakeBackend
from tests.fakes.text_models import FakeEmbedder, FreeTurns

model = FakeEmbedder()
model.before_batch = lambda: os._exit(9) if len(model.batches) == 2 else None
given = json.loads(sys.argv[1])
parts = Parts(
    backends=lambda _database: [FakeBackend()], text_tiers=TextTiers(model), turns=FreeTurns()
)
application = build_application(Settings(**given), parts)
application.start()
jobs = application.services.get(Jobs)
assert jobs.wait(application.services.get(LibraryService).start_scan().id, 60).status == "succeeded"
request = EmbeddingRequest(compute_all=True, batch_size=1)
application.services.get(EmbeddingService).compute(request)
"""


def test_the_next_start_goes_on_where_it_was(
    make_home: Callable[..., Home], database_url: str, library: Path, tmp_path: Path
) -> None:
    settings = {
        "data_dir": str(tmp_path / "data"),
        "database_url": database_url,
        "library_roots": str(library),
        "import_path": str(tmp_path / "loras"),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 9, done.stderr

    model = FakeEmbedder()
    home = make_home(model)

    database = home.application.services.get(Database)
    with database.read() as session:
        unfinished = JobStore(session).find_unfinished(TEXT_JOB)
        job = unfinished or JobStore(session).newest(TEXT_JOB, SUCCEEDED)
    assert job is not None
    job = home.application.services.get(Jobs).wait(job.id, 60)
    assert (job.status, job.attempts) == ("succeeded", 2)
    assert sum(map(len, model.batches)) == 2 * 2, "texts and tags of the other two adapters"
    with database.read() as session:
        assert TextVectorStore(session).counts(model.key) == {"current": 3}

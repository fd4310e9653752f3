"""The generation job: translates names, has the backend make the pictures, stores them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lora_manager_core.backends.base import (
    GenerationCancelled,
    GenerationRequest,
    StepProgress,
)
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.compose.translate import PromptTranslator
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import GenerationFailed
from lora_manager_core.generation.pictures import PictureFolder
from lora_manager_core.generation.repository import ResultWriter
from lora_manager_core.queueing.base import JobCancelled, JobContext, JobProgress

GENERATION_JOB = "generation"


class GenerationJob:
    """Runs one order; its payload is `{backend, params, warnings}`."""

    def __init__(
        self,
        database: Database,
        backends: BackendRegistry,
        translator: PromptTranslator,
        pictures: PictureFolder,
    ) -> None:
        self._database = database
        self._backends = backends
        self._translator = translator
        self._pictures = pictures

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Make and store the pictures; gives links, info and warnings."""
        backend = self._backends.get(context.payload["backend"])
        params = dict(context.payload["params"])
        translated = self._translator.translate(params["prompt"], backend)
        request = GenerationRequest(**{**params, "prompt": translated.prompt})

        def _report(progress: StepProgress) -> None:
            context.report(
                JobProgress(progress.fraction, progress.step, progress.steps, progress.eta_s)
            )

        context.raise_if_cancelled()
        started = time.perf_counter()
        try:
            result = backend.generate(request, _report, context.is_cancelled)
        except GenerationCancelled as cancelled:
            raise JobCancelled from cancelled
        if not result.images:
            raise GenerationFailed("The backend finished without a picture; see its own log.")
        context.raise_if_cancelled()
        paths = self._pictures.store(context.job_id, result.images)
        with self._database.write() as session:
            ResultWriter(session).add(context.job_id, result.images, paths)
        return {
            "images": [image_url(context.job_id, number) for number in range(len(paths))],
            "generation_info": {
                **result.info,
                "backend": backend.name,
                "prompt": request.prompt,
                "seeds": [image.seed for image in result.images],
                "infotexts": [image.infotext for image in result.images],
                "duration_s": round(time.perf_counter() - started, 3),
            },
            "warnings": [
                *context.payload.get("warnings", ()),
                *translated.warnings,
                *result.warnings,
            ],
        }


def image_url(job_id: str, number: int) -> str:
    """Where the API serves a picture, relative to its prefix."""
    return f"/generation/results/{job_id}/images/{number}"

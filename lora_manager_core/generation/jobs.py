"""The generation job: translates names, has the backend make the pictures, stores them."""

from __future__ import annotations

import base64
import time

from lora_manager_core.backends.base import (
    GenerationCancelled,
    GenerationRequest,
    StepProgress,
)
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.compose.translate import PromptTranslator
from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.errors import GenerationFailed
from lora_manager_core.generation.pictures import PictureFolder
from lora_manager_core.generation.repository import ResultWriter
from lora_manager_core.generation.runs import FROM_JOB, Run, RunWriter
from lora_manager_core.generation.usage import loras_used
from lora_manager_core.queueing.base import JobCancelled, JobContext, JobOutcome, JobProgress

GENERATION_JOB = "generation"


class GenerationJob:
    """Runs one order; its payload is `{backend, params, warnings}`."""

    def __init__(
        self,
        backends: BackendRegistry,
        translator: PromptTranslator,
        pictures: PictureFolder,
    ) -> None:
        self._backends = backends
        self._translator = translator
        self._pictures = pictures

    def run(self, context: JobContext) -> JobOutcome:
        """Make and store the pictures; gives links, info and warnings."""
        backend = self._backends.get(context.payload["backend"])
        params = dict(context.payload["params"])
        translated = self._translator.translate(params["prompt"], backend)
        request = GenerationRequest(**{**params, "prompt": translated.prompt})

        def _report(progress: StepProgress) -> None:
            context.report(
                JobProgress(
                    progress.fraction,
                    progress.step,
                    progress.steps,
                    progress.eta_s,
                    preview=None if progress.preview is None else data_url(progress.preview),
                )
            )

        context.raise_if_cancelled()
        started = time.perf_counter()
        try:
            result = backend.generate(
                request, _report, context.is_cancelled, context.previews_wanted
            )
        except GenerationCancelled as cancelled:
            raise JobCancelled from cancelled
        if not result.images:
            raise GenerationFailed("The backend finished without a picture; see its own log.")
        context.raise_if_cancelled()
        duration_s = round(time.perf_counter() - started, 3)
        stored = self._pictures.store(context.job_id, result.images)
        made = {
            "images": [image_url(context.job_id, number) for number in range(len(stored))],
            "generation_info": {
                **result.info,
                "backend": backend.name,
                "prompt": request.prompt,
                "seeds": [image.seed for image in result.images],
                "infotexts": [image.infotext for image in result.images],
                "duration_s": duration_s,
            },
            "warnings": [
                *context.payload.get("warnings", ()),
                *translated.warnings,
                *result.warnings,
            ],
        }

        def _store(session: WriteSession) -> None:
            ResultWriter(session).add(context.job_id, params["prompt"], stored)
            run = Run(
                FROM_JOB,
                len(result.images),
                loras_used([request.prompt]),
                context.job_id,
                duration_s,
                result.info.get("model"),
            )
            RunWriter(session).add(run)

        def _undo() -> None:
            self._pictures.remove([picture.path for picture in stored])

        return JobOutcome(made, _store, _undo)


def data_url(image: bytes) -> str:
    """An encoded picture as a `data:` URL."""
    kind = "png" if image.startswith(b"\x89PNG") else "webp" if image[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def image_url(job_id: str, number: int) -> str:
    """Where the API serves a picture, relative to its prefix."""
    return f"/generation/results/{job_id}/images/{number}"

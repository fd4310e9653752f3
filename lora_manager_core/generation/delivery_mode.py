"""The delivery mode `sdnext`: a prompt becomes a picture order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.deliveries.modes import Accepted, DeliveryMode, checked
from lora_manager_core.errors import InvalidRequest, Unprocessable
from lora_manager_core.generation.jobs import GENERATION_JOB
from lora_manager_core.generation.orders import BACKGROUND_RETRIES, PictureOrders
from lora_manager_core.generation.pictures import PictureFolder
from lora_manager_core.generation.repository import Results
from lora_manager_core.generation.schemas import GenerationParams, OutputOptions
from lora_manager_core.queueing.base import GPU_LANE

_OPTIONS = frozenset(OutputOptions.model_fields)


class PictureMode(DeliveryMode):
    """Parameters: `generation_params` and the query options of `/generation/generate`.

    Pictures are stored; `return_format` says how the delivery shows them (default `url`).
    """

    name = "sdnext"
    kind = GENERATION_JOB
    lane = GPU_LANE
    retries = BACKGROUND_RETRIES

    def __init__(self, orders: PictureOrders, pictures: PictureFolder) -> None:
        self._orders = orders
        self._pictures = pictures

    def accept(self, prompt: str, params: Mapping[str, Any]) -> Accepted:
        """Check them as the generation routes do."""
        options = dict(params)
        wanted = options.pop("generation_params", None)
        unknown = sorted(set(options) - _OPTIONS)
        if unknown:
            raise Unprocessable(f"Unknown delivery parameters: {', '.join(unknown)}.")
        if not isinstance(wanted, dict | None):
            raise Unprocessable("params.generation_params is not an object.")
        picture = checked(
            GenerationParams, {**(wanted or {}), "prompt": prompt}, "params.generation_params"
        )
        output = checked(OutputOptions, {"return_format": "url", **options})
        if not output.save_images:
            raise InvalidRequest("Pictures of a delivery are always saved; leave out save_images.")
        payload = self._orders.payload(picture, output)
        return Accepted(payload, picture.work)

    def describe(self, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The prompt, and the rest of the order."""
        params = dict(payload["params"])
        prompt = params.pop("prompt")
        options = {name: payload[name] for name in ("backend", "return_format") if name in payload}
        return prompt, {"generation_params": params, **options}

    def result(self, job: Job, url: str) -> Mapping[str, Any] | None:
        """The job's result, its pictures as links."""
        if job.result is None:
            return None
        return {**job.result, "images": [url + image for image in job.result.get("images", ())]}

    def whole_result(self, session: ReadSession, job: Job, url: str) -> Mapping[str, Any] | None:
        """The same with the pictures as asked for; null for one whose file is gone."""
        result = self.result(job, url)
        wanted = job.payload.get("return_format", "url")
        if result is None or wanted == "url":
            return result
        stored = [image.file_path for image in Results(session).images(job.id)]
        return {**result, "images": [self._pictures.show(path, wanted) for path in stored]}

"""The delivery mode `sdnext`: a prompt becomes a picture order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lora_manager_core.deliveries.modes import Accepted, DeliveryMode
from lora_manager_core.errors import InvalidRequest, Unprocessable
from lora_manager_core.generation.jobs import GENERATION_JOB
from lora_manager_core.generation.orders import BACKGROUND_RETRIES, PictureOrders
from lora_manager_core.generation.schemas import GenerationParams, OutputOptions
from lora_manager_core.queueing.base import GPU_LANE

_OPTIONS = frozenset(OutputOptions.model_fields)


class PictureMode(DeliveryMode):
    """Parameters: `generation_params` and the query options of `/generation/generate`."""

    name = "sdnext"
    kind = GENERATION_JOB
    lane = GPU_LANE
    retries = BACKGROUND_RETRIES

    def __init__(self, orders: PictureOrders) -> None:
        self._orders = orders

    def accept(self, prompt: str, params: Mapping[str, Any]) -> Accepted:
        """Check them as the generation routes do."""
        given = dict(params)
        wanted = given.pop("generation_params", None) or {}
        unknown = sorted(set(given) - _OPTIONS)
        if unknown:
            raise Unprocessable(f"Unknown delivery parameters: {', '.join(unknown)}.")
        try:
            picture = GenerationParams.model_validate({**wanted, "prompt": prompt})
            output = OutputOptions.model_validate({"return_format": "url", **given})
        except (ValidationError, TypeError) as error:
            raise Unprocessable(f"The delivery's parameters do not fit: {error}") from error
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

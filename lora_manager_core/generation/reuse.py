"""A finished picture as the beginning of the next: its parameters, and its LoRAs as a stack."""

from __future__ import annotations

from lora_manager_core.adapters.active_set import ActiveSetService
from lora_manager_core.common.lora_tokens import strip_tokens
from lora_manager_core.generation.result_schemas import ReuseAnswer, ReusedAdapter
from lora_manager_core.generation.results import ResultService


class ReuseService:
    """Gives back what a result was made of."""

    def __init__(self, results: ResultService, active_set: ActiveSetService) -> None:
        self._results = results
        self._active_set = active_set

    def reuse(self, job_id: str, apply: bool) -> ReuseAnswer:
        """Parameters and stack of a result; `apply` makes the stack the active set.

        Raises:
            ResultNotFound: no such result.
            Unprocessable: a weight of the prompt that no adapter may have; nothing was applied.
        """
        params, seed = self._results.order(job_id)
        prompt = params["prompt"]
        entries = (
            self._active_set.take_from_prompt(prompt)
            if apply
            else self._active_set.of_prompt(prompt)
        )
        return ReuseAnswer(
            generation_params={**params, "seed": seed},
            stack=[
                ReusedAdapter(
                    adapter_id=entry.adapter_id,
                    name=entry.name,
                    weight=entry.weight,
                    weight_te=entry.weight_te,
                    missing=entry.adapter_id is None,
                )
                for entry in entries
            ],
            prompt=prompt,
            prompt_without_tokens=strip_tokens(prompt),
            applied=apply,
        )

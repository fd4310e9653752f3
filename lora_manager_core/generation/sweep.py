"""The delivery mode `sweep`: one prompt over several weights and seeds, as one job."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lora_manager_core.compose.choice import choose
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.deliveries.modes import Accepted, checked
from lora_manager_core.errors import InvalidRequest, Unprocessable
from lora_manager_core.generation.delivery_mode import PictureMode
from lora_manager_core.generation.orders import PictureOrders
from lora_manager_core.generation.pictures import PictureFolder
from lora_manager_core.generation.schemas import OutputOptions
from lora_manager_core.generation.sweep_job import SWEEP_JOB, SweepJob
from lora_manager_core.generation.sweep_plan import SweepPlan, SweptAdapter
from lora_manager_core.generation.sweep_schemas import SweepRequest
from lora_manager_core.queueing.runner import JobRunner

#: Random seeds are drawn from what the host draws from.
_RANDOM_SEEDS = 2**32


class SweepMode(PictureMode):
    """Parameters: the fields of `POST /generation/sweep`, and `backend`."""

    name = "sweep"
    kind = SWEEP_JOB

    def __init__(
        self,
        database: Database,
        runner: JobRunner,
        orders: PictureOrders,
        pictures: PictureFolder,
        job: SweepJob,
    ) -> None:
        super().__init__(orders, pictures)
        self._database = database
        runner.register(SWEEP_JOB, job.run)

    def accept(self, prompt: str, params: Mapping[str, Any]) -> Accepted:
        """Look the adapters up and draw random seeds, once for all attempts.

        Raises:
            AdapterNotFound: ids are unknown (named in `unknown_ids`).
            StackNotFound: no such stack.
            InvalidRequest: no adapter was chosen and none is active, or a stack and adapters.
            Unprocessable: what does not fit, an unknown backend, two adapters of one name, a stack
                with adapters that are not here.
        """
        options = dict(params)
        backend = options.pop("backend", None)
        if not isinstance(options.get("generation_params", {}), dict):
            raise Unprocessable("params.generation_params is not an object.")
        picture = {**options.pop("generation_params", {}), "prompt": prompt}
        request = checked(SweepRequest, {**options, "generation_params": picture})
        output = checked(OutputOptions, {"backend": backend, "return_format": "url"})
        payload = self._orders.payload(request.generation_params, output)
        with self._database.read() as session:
            chosen = choose(session, request.adapter_ids, request.stack_id)
            if chosen.missing:
                names = ", ".join(f"“{one.content()['name']}”" for one in chosen.missing)
                raise Unprocessable(
                    f"Not all adapters of the stack are here ({names}); put their files back, or "
                    "take them out of the stack."
                )
            plan = _plan(request, chosen.adapters)
        work = request.generation_params.work * len(plan.cells)
        return Accepted({**payload, "sweep": plan.payload()}, work)

    def describe(self, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The prompt, and the rest of the order."""
        prompt, params = super().describe(payload)
        sweep = payload["sweep"]
        return prompt, {
            **params,
            "adapter_ids": [adapter["id"] for adapter in sweep["adapters"]],
            "weights": sweep["weights"],
            "seeds": sweep["seeds"],
        }


def _plan(request: SweepRequest, adapters: list[Adapter]) -> SweepPlan:
    if not adapters:
        raise InvalidRequest("There is nothing to sweep: name adapters, or activate one.")
    name, times = Counter(adapter.name for adapter in adapters).most_common(1)[0]
    if times > 1:
        raise Unprocessable(f"{times} of the adapters are named “{name}”; sweep one of them.")
    params = request.generation_params
    return SweepPlan(
        params.prompt,
        tuple(SweptAdapter.of(adapter) for adapter in adapters),
        tuple(round(weight, 3) + 0.0 for weight in request.weights),  # no -0.0
        tuple(
            random.randrange(_RANDOM_SEEDS) if seed < 0 else seed
            for seed in request.seeds or (params.seed,)
        ),
    )

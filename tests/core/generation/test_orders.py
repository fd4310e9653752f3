"""Whether somebody is there to make a picture, before anybody waits for it."""

from __future__ import annotations

import pytest

from lora_manager_core.backends.base import BackendStatus
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.errors import BackendUnavailable
from lora_manager_core.generation.orders import PictureOrders
from lora_manager_core.generation.schemas import GenerationParams, OutputOptions
from lora_manager_core.queueing.base import GPU_LANE, LIBRARY_LANE
from tests.fakes.backend import FakeBackend
from tests.fakes.queue import FakeQueue


class TestPicturesMadeHere:
    def test_need_the_backend(self) -> None:
        off = BackendStatus("sdnext", False, "Load a checkpoint.")
        orders = PictureOrders(BackendRegistry([FakeBackend(status=off)]), FakeQueue())

        with pytest.raises(BackendUnavailable, match=r"Load a checkpoint\."):
            orders.require_backend(None)

    def test_name_their_backend_in_the_order(self) -> None:
        orders = PictureOrders(BackendRegistry([FakeBackend()]), FakeQueue())

        payload = orders.payload(GenerationParams(prompt="a fox"), OutputOptions())

        assert payload["backend"] == "sdnext"


class TestPicturesMadeElsewhere:
    def test_need_no_backend_here(self) -> None:
        orders = PictureOrders(BackendRegistry([]), FakeQueue([GPU_LANE], runs_here=False))
        orders.require_backend(None)
        orders.require_worker()

    @pytest.mark.parametrize(
        ("lanes", "problem", "said"),
        [
            pytest.param([], None, "lora-manager worker", id="no-worker"),
            pytest.param([LIBRARY_LANE], None, "lora-manager worker", id="none-for-pictures"),
            pytest.param([], "Redis is gone.", "Redis is gone", id="queue-out-of-reach"),
        ],
    )
    def test_need_a_worker(self, lanes: list[str], problem: str | None, said: str) -> None:
        orders = PictureOrders(BackendRegistry([]), FakeQueue(lanes, problem, runs_here=False))

        with pytest.raises(BackendUnavailable, match=said):
            orders.require_worker()

    def test_leave_the_choice_of_a_backend_to_the_worker(self) -> None:
        orders = PictureOrders(BackendRegistry([]), FakeQueue([GPU_LANE], runs_here=False))

        payload = orders.payload(GenerationParams(prompt="a fox"), OutputOptions())

        assert payload["backend"] is None

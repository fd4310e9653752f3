"""Turns outside SD.Next."""

from __future__ import annotations

import threading

import pytest

from lora_manager_core.embeddings.local_turns import LocalTurns
from lora_manager_core.queueing.base import JobCancelled


def test_a_batch_waits_for_the_picture() -> None:
    pictures = iter([True, True, False])
    looked = []

    def _is_busy() -> bool:
        looked.append(next(pictures))
        return looked[-1]

    with LocalTurns(_is_busy).turn("cpu", lambda: False):
        assert looked == [True, True, False]


def test_a_cancelled_job_does_not_wait_for_the_picture() -> None:
    cancelled = threading.Event()

    def _is_busy() -> bool:
        cancelled.set()
        return True

    turn = LocalTurns(_is_busy).turn("cpu", cancelled.is_set)
    with pytest.raises(JobCancelled), turn:
        raise AssertionError("it was computed")


@pytest.mark.embedded
def test_without_memory_enough_it_is_the_cpu() -> None:
    assert LocalTurns(lambda: False).device(1 << 60) == "cpu"

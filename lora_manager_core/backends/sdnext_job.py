"""One txt2img call, followed while it runs.

Progress and interrupt are global on the host and name no job, and calls wait in its queue: until
ours has begun, what it tells is another's, and an interrupt would hit that one. What is said here
was measured on the host's snapshot of 2026-07-23.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import Any

from lora_manager_core.backends.base import GenerationCancelled, IsCancelled
from lora_manager_core.backends.sdnext_client import SdnextAnswer, SdnextClient, SdnextUnreachable
from lora_manager_core.backends.sdnext_progress import InferenceProgress

_TXT2IMG = "/sdapi/v1/txt2img"
_INTERRUPT = "/sdapi/v1/interrupt"
_HISTORY = "/sdapi/v1/history"
#: Says the same as /progress, which would also decode a preview each time it is asked.
STATUS = "/sdapi/v1/status"

#: How often a cancel is looked for, in seconds: it is to stop the picture within a step or two.
CANCEL_LOOK_S = 0.05
_PICTURES_BYTES = 512 * 2**20
#: While others' pictures are made, every so many polls: the history is long.
_QUEUE_POLLS = 4


class SdnextJob:
    """Sends one order and sees to its progress and its end; used once."""

    def __init__(self, client: SdnextClient, poll_interval_s: float, lost_after_s: float) -> None:
        self._client = client
        self._poll_interval_s = poll_interval_s
        self._lost_after_s = lost_after_s

    def run(
        self, payload: Mapping[str, Any], progress: InferenceProgress, is_cancelled: IsCancelled
    ) -> SdnextAnswer:
        """The answer to the order, whatever its status.

        Raises:
            GenerationCancelled: `is_cancelled()` turned true; the host is done with the job.
            BackendUnavailable: the connection broke, or nobody was there for `lost_after_s`.
            GenerationFailed: the answer is too large or damaged.
        """
        behind = self._queued_behind()
        if is_cancelled():
            raise GenerationCancelled
        order = self._sent(payload)
        self._follow(order, behind, progress, is_cancelled)
        return order.result()

    def _queued_behind(self) -> str | None:
        """The newest API job of a busy host, after which ours will come; None: ours comes at once.

        An error leaves the host looking busy, so that "busy" alone says nothing.
        """
        status = self._client.ask("GET", STATUS)
        if not isinstance(status, dict) or not status.get("task"):
            return None
        return self._newest_api_job()

    def _newest_api_job(self) -> str | None:
        """The id of the txt2img call that began last, "" before the first; None: not told."""
        history = self._client.ask("GET", _HISTORY)
        if not isinstance(history, list):
            return None
        return next(
            (
                str(entry.get("id"))
                for entry in reversed(history)
                if isinstance(entry, dict)
                and (entry.get("job"), entry.get("op")) == ("api-txt", "begin")
            ),
            "",
        )

    def _sent(self, payload: Mapping[str, Any]) -> Future[SdnextAnswer]:
        """The order on its way, in a daemon thread: it may wait for a machine that is gone."""
        order: Future[SdnextAnswer] = Future()

        def _send() -> None:
            try:
                order.set_result(
                    self._client.send(
                        "POST", _TXT2IMG, payload, read_s=None, limit_bytes=_PICTURES_BYTES
                    )
                )
            except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                order.set_exception(error)

        threading.Thread(target=_send, name="sdnext-txt2img", daemon=True).start()
        return order

    def _follow(
        self,
        order: Future[SdnextAnswer],
        behind: str | None,
        progress: InferenceProgress,
        is_cancelled: IsCancelled,
    ) -> None:
        """Report progress and pass on a cancel until the answer is there."""
        cancelled, ours, polls = False, behind is None, 0
        last_contact = polled_at = time.monotonic()
        while not wait((order,), timeout=min(CANCEL_LOOK_S, self._poll_interval_s)).done:
            news = not cancelled and is_cancelled()
            cancelled = cancelled or news
            if not news and time.monotonic() - polled_at < self._poll_interval_s:
                continue
            polled_at = time.monotonic()
            polls += 1
            try:
                if not ours:
                    if not cancelled and polls % _QUEUE_POLLS:
                        continue
                    ours = self._newest_api_job() not in (behind, None)
                if ours and cancelled:
                    # again and again: each new stage of the job forgets an interrupt
                    self._client.ask("POST", _INTERRUPT)
                elif ours:
                    progress.read(self._client.ask("GET", STATUS))
                last_contact = time.monotonic()
            except SdnextUnreachable:
                # a machine that is gone says nothing on the order's own connection either
                if time.monotonic() - last_contact > self._lost_after_s:
                    raise
        if cancelled or is_cancelled():
            raise GenerationCancelled

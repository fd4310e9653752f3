"""The threads of a worker process: each takes the jobs of one lane from Redis, one after the other.

They use RQ's queues and RQ's register of workers, but not its loop, which belongs to a main thread
with signals, nor its fork for each job, which would break torch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lora_manager_core.queueing.base import GPU_LANE
from lora_manager_core.queueing.owner import new_owner
from lora_manager_core.queueing.rq_link import RedisLink
from lora_manager_core.queueing.runner import JobRunner

_log = logging.getLogger(__name__)

#: How long an idle worker waits in Redis before it looks whether it is to stop.
_WAIT_S = 0.5
#: How often a worker says that it lives, and after how much silence nobody believes it.
_TELL_INTERVAL_S = 5.0
_SILENCE_S = 30
#: Pause before Redis is tried again.
_RETRY_S = 1.0
#: Rest after a picture that could not be made now: a worker whose SD.Next is gone would otherwise
#: take one job after the other from those that can do them.
_REST_S = 10.0


class RqWorkers:
    """`lanes` says how many threads each lane has."""

    def __init__(self, link: RedisLink, runner: JobRunner, lanes: Mapping[str, int]) -> None:
        self._link = link
        self._runner = runner
        self._sizes = dict(lanes)
        self._owner = new_owner()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        #: RQ's record of each thread that has reached Redis.
        self._records: dict[str, Any] = {}

    def start(self) -> None:
        """Start the threads once."""
        with self._lock:
            if self._threads:
                return
            self._runner.resume()
            self._stopped = stopped = threading.Event()
            self._threads = [
                threading.Thread(
                    target=self._work,
                    args=(lane, f"{lane}-{number}", stopped),
                    name=f"{lane}-{number}",
                    daemon=True,
                )
                for lane, size in self._sizes.items()
                for number in range(size)
            ]
            self._threads.append(
                threading.Thread(
                    target=self._listen, args=(stopped,), name="job-cancels", daemon=True
                )
            )
            for thread in self._threads:
                thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ask running jobs to stop and wait for the threads."""
        with self._lock:
            threads, self._threads = self._threads, []
        self._stopped.set()
        self._runner.stop_all()
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, lane: str, place: str, stopped: threading.Event) -> None:
        while not stopped.is_set():
            client = self._link.connect(_WAIT_S)
            try:
                self._work_while_reached(lane, place, stopped, client)
            except self._link.errors as error:
                self._link.lost(error)
                stopped.wait(_RETRY_S)
            except Exception:  # noqa: BLE001 - the border of a worker thread: it must outlive any job
                _log.exception("the worker %s begins anew", place)
                stopped.wait(_RETRY_S)
            finally:
                client.close()

    def _work_while_reached(
        self, lane: str, place: str, stopped: threading.Event, client: Any
    ) -> None:
        queue = self._link.queue(lane, client)
        record = self._register(place, queue)
        self._link.found()
        self._records[place] = record
        try:
            while not stopped.is_set():
                _tell(record)
                if record.should_run_maintenance_tasks:
                    record.clean_registries()
                job_id = _take(queue)
                if job_id is not None and stopped.is_set():
                    client.lpush(queue.key, job_id)
                elif job_id is not None and self._run(record, job_id) and lane == GPU_LANE:
                    stopped.wait(_REST_S)
        finally:
            del self._records[place]
            with suppress(*self._link.errors):
                record.register_death()

    def _register(self, place: str, queue: Any) -> Any:
        from rq.worker import SimpleWorker

        record = SimpleWorker(
            [queue],
            name=f"{self._owner}:{place}",
            connection=queue.connection,
            worker_ttl=_SILENCE_S,
            serializer=queue.serializer,
        )
        queue.connection.delete(record.key)  # our own, from before Redis was lost
        record.register_birth()
        queue.connection.expire(record.key, _SILENCE_S)
        return record

    def _run(self, record: Any, job_id: str) -> bool:
        may_pass = False
        record.set_state("busy")
        try:
            may_pass = self._runner.run(job_id)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("job %s could not be run", job_id)
        record.set_state("idle")
        return may_pass

    def _listen(self, stopped: threading.Event) -> None:
        """Hear the cancels of other processes, and tell of threads that are busy for long."""
        while not stopped.is_set():
            client = self._link.connect(_WAIT_S)
            try:
                with client.pubsub(ignore_subscribe_messages=True) as messages:
                    messages.subscribe(self._link.cancel_channel)
                    while not stopped.is_set():
                        heard = messages.get_message(timeout=_WAIT_S)
                        if heard is not None:
                            self._runner.cancel(heard["data"].decode(errors="replace"))
                        for record in list(self._records.values()):
                            _tell(record)
            except self._link.errors as error:
                self._link.lost(error)
                stopped.wait(_RETRY_S)
            finally:
                client.close()


def _take(queue: Any) -> str | None:
    """Take the next id out of Redis, if one comes soon; from here on the row alone knows of it."""
    from rq.exceptions import DequeueTimeout

    client = queue.connection
    try:
        entry, _ = queue.dequeue_any(
            [queue], _WAIT_S, connection=client, serializer=queue.serializer
        )
    except DequeueTimeout:
        return None
    with client.pipeline() as pipe:
        pipe.delete(entry.key)
        pipe.lrem(queue.intermediate_queue_key, 1, entry.id)
        pipe.execute()
    return str(entry.id)


def _tell(record: Any) -> None:
    """Say now and then that a thread lives; all there is to it, because Redis may have lost it."""
    from rq.utils import now
    from rq.worker_registration import register

    if (now() - record.last_heartbeat).total_seconds() < _TELL_INTERVAL_S:
        return
    record.last_heartbeat = now()
    with record.connection.pipeline() as pipe:
        pipe.hset(record.key, mapping={**record.serialize(), "state": record.get_state()})
        register(record, pipe)
        pipe.expire(record.key, _SILENCE_S)
        pipe.execute()

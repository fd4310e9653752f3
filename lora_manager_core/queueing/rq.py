"""The distributed queue: RQ on Redis, worked by as many processes as one likes (`rq_workers`).

The database row is the only truth, so RQ's results, retries and registries of failures are not
used: an entry in Redis is a job's id, it may be lost, and the keeper of the jobs writes it again.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from lora_manager_core.queueing.base import LANES, JobQueue, WorkerInfo
from lora_manager_core.queueing.owner import is_dead
from lora_manager_core.queueing.rq_link import RedisLink
from lora_manager_core.queueing.rq_workers import RqWorkers
from lora_manager_core.queueing.runner import JobRunner

_log = logging.getLogger(__name__)

#: What RQ shows as the function of an entry; a worker calls its own runner whatever stands there.
_FUNCTION = "lora-manager worker"
#: Puts an id before the next younger one that waits, once. Atomic, because every process does it.
_PLACE = """
if redis.call('LPOS', KEYS[1], ARGV[1]) then return 0 end
if ARGV[2] == '' then return redis.call('RPUSH', KEYS[1], ARGV[1]) end
if redis.call('LINSERT', KEYS[1], 'BEFORE', ARGV[2], ARGV[1]) > 0 then return 1 end
return redis.call('LPUSH', KEYS[1], ARGV[1])
"""


class RqQueue(JobQueue):
    """Queues jobs in Redis (6.2 or newer); with `lanes`, works on them too, after `start`.

    `lanes` says how many threads each lane has here.

    Raises:
        ExtraNotInstalled: the `redis` extra is missing.
    """

    runs_here = False

    def __init__(
        self,
        redis_url: str,
        runner: JobRunner,
        lanes: Mapping[str, int] | None = None,
        namespace: str = "lora-manager",
    ) -> None:
        self._link = RedisLink(redis_url, namespace)
        self._runner = runner
        self._workers = RqWorkers(self._link, runner, lanes) if lanes else None
        self._client = self._link.connect()
        self._place = self._client.register_script(_PLACE)
        self._alone = False

    @property
    def problem(self) -> str | None:
        """Why Redis could not be reached at the last try, at most some seconds ago; else None."""
        return self._link.problem

    def submit(self, lane: str, job_id: str) -> None:
        """Queue a job, unless it waits there already."""
        with self._link.if_reached():
            self._push(lane, [(job_id, None)])

    def submit_all(self, due: Iterable[tuple[str, str]]) -> None:
        """Queue what is missing, each job before the younger ones that wait."""
        by_lane: dict[str, list[str]] = {}
        for lane, job_id in due:
            by_lane.setdefault(lane, []).append(job_id)
        with self._link.if_reached():
            for lane, ids in by_lane.items():
                waiting = set(self._link.queue(lane, self._client).get_job_ids())
                self._push(lane, _places(ids, waiting))
            if self._workers is None:
                self._look_for_workers()

    def cancel(self, job_id: str) -> None:
        """Tell every worker; one that does not hear it finds the cancel in the row."""
        self._runner.cancel(job_id)
        with self._link.if_reached():
            self._client.publish(self._link.cancel_channel, job_id)

    def start(self) -> None:
        """Begin to work on the lanes, if there are any."""
        if self._workers is not None:
            self._workers.start()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Ask running jobs to stop and wait for the threads; what waits stays in Redis."""
        if self._workers is not None:
            self._workers.stop(timeout_s)
        self._client.close()

    def workers(self) -> list[WorkerInfo]:
        """Who has said lately that it lives, on any machine."""
        with self._link.if_reached():
            return self._living_workers()
        return []

    def _living_workers(self) -> list[WorkerInfo]:
        from rq.worker_registration import get_keys

        queues = [self._link.queue(lane, self._client) for lane in LANES]
        keys = sorted(set().union(*(get_keys(queue=queue) for queue in queues)))
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
            told = pipe.execute()
        workers = map(self._info, keys, told)
        return [worker for worker in workers if worker is not None]

    def _info(self, key: str, fields: Mapping[bytes, bytes]) -> WorkerInfo | None:
        told = {name.decode(): value.decode() for name, value in fields.items()}
        owner, _, place = key.partition("worker:")[2].rpartition(":")
        if "queues" not in told or "death" in told or is_dead(owner):
            return None
        lanes = tuple(map(self._link.lane, told["queues"].split(",")))
        name = f"{told.get('hostname', '?')}/{told.get('pid', '?')}/{place}"
        return WorkerInfo(name, lanes, told.get("state") == "busy", told.get("last_heartbeat"))

    def _push(self, lane: str, places: Sequence[tuple[str, str | None]]) -> None:
        """Queue ids, each before another one or at the end."""
        from rq.job import Job, JobStatus

        queue = self._link.queue(lane, self._client)
        with self._client.pipeline(transaction=False) as pipe:
            for job_id, before in places:
                entry: Any = Job.create(
                    _FUNCTION,
                    id=job_id,
                    origin=queue.name,
                    description=f"{lane} job {job_id}",
                    status=JobStatus.QUEUED,
                    timeout=-1,
                    result_ttl=0,
                    connection=self._client,
                    serializer=queue.serializer,
                )
                entry.save(pipeline=pipe)
                self._place(keys=[queue.key], args=[job_id, before or ""], client=pipe)
            pipe.sadd(queue.redis_queues_keys, queue.key)
            pipe.execute()

    def _look_for_workers(self) -> None:
        alone = not self._living_workers()
        if alone and not self._alone:
            _log.warning("nobody works for the queue: start `lora-manager worker`")
        elif self._alone and not alone:
            _log.info("a worker has come")
        self._alone = alone


def _places(ids: Sequence[str], waiting: Container[str]) -> list[tuple[str, str | None]]:
    """Each id that does not wait, with the next younger one that does.

    Oldest first, as `submit` queues them too: two that do it at one moment agree on the order.
    """
    places: list[tuple[str, str | None]] = []
    before = None
    for job_id in reversed(ids):
        if job_id in waiting:
            before = job_id
        else:
            places.append((job_id, before))
    return places[::-1]

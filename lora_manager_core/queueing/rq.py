"""The distributed queue: RQ on Redis, worked by as many processes as one likes.

The database row is the only truth, so RQ's results, retries and registries of failures are not
used: an entry in Redis is a job's id, it may be lost, and the keeper of the jobs writes it again.
Jobs run in a thread of the worker's process: RQ's fork for each job would break torch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from lora_manager_core.errors import ExtraNotInstalled
from lora_manager_core.queueing.base import LANES, JobQueue, WorkerInfo
from lora_manager_core.queueing.owner import is_dead, new_owner
from lora_manager_core.queueing.runner import JobRunner

_log = logging.getLogger(__name__)

#: What RQ shows as the function of an entry; a worker calls its own runner whatever stands there.
_FUNCTION = "lora-manager worker"
#: How long an idle worker waits in Redis before it looks whether it is to stop.
_WAIT_S = 0.5
#: How often a worker says that it lives, and after how much silence nobody believes it.
_TELL_INTERVAL_S = 5.0
_SILENCE_S = 30
#: Pause before Redis is tried again.
_RETRY_S = 1.0
#: An answer of Redis that takes longer counts as none.
_ANSWER_S = 5.0
#: Puts an id before the next younger one that waits, once. Atomic, because every process does it.
_PLACE = """
if redis.call('LPOS', KEYS[1], ARGV[1]) then return 0 end
if ARGV[2] == '' then return redis.call('RPUSH', KEYS[1], ARGV[1]) end
if redis.call('LINSERT', KEYS[1], 'BEFORE', ARGV[2], ARGV[1]) > 0 then return 1 end
return redis.call('LPUSH', KEYS[1], ARGV[1])
"""


class RqQueue(JobQueue):
    """Queues jobs in Redis (6.2 or newer); with `lanes`, a worker for them too, after `start`.

    `lanes` says how many threads each lane has here. Queues in Redis are named
    `{namespace}-{lane}`; cancels go over the channel `{namespace}:cancel`.

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
        try:
            import rq  # noqa: F401 - asked here, so that a missing extra is told at the start
            from redis.exceptions import RedisError
        except ImportError as error:
            raise ExtraNotInstalled(
                "The queue on Redis needs further libraries: pip install 'sd-lora-manager[redis]'."
            ) from error
        self._url = redis_url
        self._errors = (RedisError, OSError)
        self._runner = runner
        self._sizes = dict(lanes or {})
        self._namespace = namespace
        self._channel = f"{namespace}:cancel"
        self._client = self._connect(_ANSWER_S)
        self._place = self._client.register_script(_PLACE)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._owner = new_owner()
        self._registered: dict[str, Any] = {}
        self._problem: str | None = None
        self._alone = False

    @property
    def problem(self) -> str | None:
        """Why Redis could not be reached at the last try, at most some seconds ago; else None."""
        return self._problem

    def submit(self, lane: str, job_id: str) -> None:
        """Queue a job, unless it waits there already."""
        with self._if_reached():
            self._push(lane, [(job_id, None)])

    def submit_all(self, due: Iterable[tuple[str, str]]) -> None:
        """Queue what is missing, each job before the younger ones that wait."""
        by_lane: dict[str, list[str]] = {}
        for lane, job_id in due:
            by_lane.setdefault(lane, []).append(job_id)
        with self._if_reached():
            for lane, ids in by_lane.items():
                waiting = set(self._queue(lane, self._client).get_job_ids())
                youngest_first = reversed(list(zip(ids, [*ids[1:], None], strict=True)))
                self._push(lane, [place for place in youngest_first if place[0] not in waiting])
            if not self._sizes:
                self._look_for_workers()

    def cancel(self, job_id: str) -> None:
        """Tell every worker; one that does not hear it finds the cancel in the row."""
        self._runner.cancel(job_id)
        with self._if_reached():
            self._client.publish(self._channel, job_id)

    def start(self) -> None:
        """Start the threads of the lanes, if there are any, once."""
        with self._lock:
            if self._threads or not self._sizes:
                return
            self._runner.resume()
            self._stopped = stopped = threading.Event()
            targets: list[tuple[str, Any, tuple[Any, ...]]] = [
                (f"{lane}-{number}", self._work, (lane, f"{lane}-{number}", stopped))
                for lane, size in self._sizes.items()
                for number in range(size)
            ]
            targets.append(("job-cancels", self._listen, (stopped,)))
            for name, target, arguments in targets:
                thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Ask running jobs to stop and wait for the threads; what waits stays in Redis."""
        with self._lock:
            threads, self._threads = self._threads, []
        self._stopped.set()
        if self._sizes:
            self._runner.stop_all()
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._client.close()

    def workers(self) -> list[WorkerInfo]:
        """Who has said lately that it lives, on any machine."""
        from rq.worker_registration import get_keys

        told: list[dict[bytes, bytes]] = []
        with self._if_reached():
            queues = [self._queue(lane, self._client) for lane in LANES]
            keys = sorted(set().union(*(get_keys(queue=queue) for queue in queues)))
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hgetall(key)
                told = pipe.execute()
        found = zip(keys, told, strict=True) if told else ()
        workers = [self._info(key, fields) for key, fields in found]
        return [worker for worker in workers if worker is not None]

    # -- towards Redis ---------------------------------------------------------------------------

    def _connect(self, answer_s: float) -> Any:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return Redis.from_url(
            self._url,
            socket_connect_timeout=2.0,
            socket_timeout=answer_s,
            # once, for a connection that a restart of Redis has cut; whoever calls goes on else
            retry=Retry(NoBackoff(), 1),
        )

    def _queue(self, lane: str, client: Any) -> Any:
        from rq import Queue
        from rq.serializers import JSONSerializer

        return Queue(f"{self._namespace}-{lane}", connection=client, serializer=JSONSerializer)

    def _push(self, lane: str, places: Sequence[tuple[str, str | None]]) -> None:
        """Queue ids, each before another one or at the end."""
        from rq.job import Job, JobStatus

        queue = self._queue(lane, self._client)
        with self._client.pipeline(transaction=False) as pipe:
            for job_id, before in places:
                entry = Job.create(
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

    @contextmanager
    def _if_reached(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            self._lost(error)
        else:
            if self._problem is not None:
                self._problem = None
                _log.info("Redis answers again")

    def _lost(self, error: BaseException) -> None:
        if self._problem is None:
            _log.warning(
                "Redis cannot be reached (%s): jobs wait in the database until it answers", error
            )
        self._problem = f"Redis cannot be reached: {error}"

    def _look_for_workers(self) -> None:
        alone = not self.workers()
        if alone and not self._alone:
            _log.warning("nobody works for the queue: start `lora-manager worker`")
        elif self._alone and not alone:
            _log.info("a worker has come")
        self._alone = alone

    def _info(self, key: str, fields: Mapping[bytes, bytes]) -> WorkerInfo | None:
        told = {name.decode(): value.decode() for name, value in fields.items()}
        owner, _, place = key.partition("worker:")[2].rpartition(":")
        if "queues" not in told or "death" in told or is_dead(owner):
            return None
        lanes = tuple(
            queue.removeprefix(f"{self._namespace}-") for queue in told["queues"].split(",")
        )
        name = f"{told.get('hostname', '?')}/{told.get('pid', '?')}/{place}"
        return WorkerInfo(name, lanes, told.get("state") == "busy", told.get("last_heartbeat"))

    # -- the threads of a worker -----------------------------------------------------------------

    def _work(self, lane: str, place: str, stopped: threading.Event) -> None:
        while not stopped.is_set():
            client = self._connect(_WAIT_S + _ANSWER_S)
            try:
                self._work_while_reached(lane, place, stopped, client)
            except self._errors as error:
                self._lost(error)
                stopped.wait(_RETRY_S)
            except Exception:  # noqa: BLE001 - the border of a worker thread: it must outlive any job
                _log.exception("the worker %s begins anew", place)
                stopped.wait(_RETRY_S)
            finally:
                client.close()

    def _work_while_reached(
        self, lane: str, place: str, stopped: threading.Event, client: Any
    ) -> None:
        from rq.worker import SimpleWorker

        queue = self._queue(lane, client)
        worker = SimpleWorker(
            [queue],
            name=f"{self._owner}:{place}",
            connection=client,
            worker_ttl=_SILENCE_S,
            serializer=queue.serializer,
        )
        client.delete(worker.key)  # of this very worker, before it lost Redis
        worker.register_birth()
        client.expire(worker.key, _SILENCE_S)
        self._registered[place] = worker
        try:
            while not stopped.is_set():
                self._tell(worker)
                if worker.should_run_maintenance_tasks:
                    worker.clean_registries()
                job_id = self._take(queue)
                if job_id is not None and stopped.is_set():
                    client.lpush(queue.key, job_id)
                elif job_id is not None:
                    self._run(worker, job_id)
        finally:
            del self._registered[place]
            with suppress(*self._errors):
                worker.register_death()

    def _take(self, queue: Any) -> str | None:
        """Take the next id out of Redis; from here on the row alone knows of the job."""
        from rq.exceptions import DequeueTimeout

        try:
            found = queue.dequeue_any(
                [queue], _WAIT_S, connection=queue.connection, serializer=queue.serializer
            )
        except DequeueTimeout:
            return None
        entry = found[0]
        with queue.connection.pipeline() as pipe:
            pipe.delete(entry.key)
            pipe.lrem(queue.intermediate_queue_key, 1, entry.id)
            pipe.execute()
        return str(entry.id)

    def _run(self, worker: Any, job_id: str) -> None:
        worker.set_state("busy")
        try:
            self._runner.run(job_id)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("job %s could not be run", job_id)
        worker.set_state("idle")

    def _tell(self, worker: Any) -> None:
        """Say that a worker lives; the whole registration, because Redis may have lost it."""
        from rq.utils import now
        from rq.worker_registration import register

        if (now() - worker.last_heartbeat).total_seconds() < _TELL_INTERVAL_S:
            return
        worker.last_heartbeat = now()
        with worker.connection.pipeline() as pipe:
            pipe.hset(worker.key, mapping={**worker.serialize(), "state": worker.get_state()})
            register(worker, pipe)
            pipe.expire(worker.key, _SILENCE_S)
            pipe.execute()

    def _listen(self, stopped: threading.Event) -> None:
        """Hear the cancels of other processes, and tell of workers that are busy for long."""
        while not stopped.is_set():
            client = self._connect(_WAIT_S + _ANSWER_S)
            try:
                with client.pubsub(ignore_subscribe_messages=True) as messages:
                    messages.subscribe(self._channel)
                    while not stopped.is_set():
                        heard = messages.get_message(timeout=_WAIT_S)
                        if heard is not None:
                            self._runner.cancel(heard["data"].decode())
                        for worker in list(self._registered.values()):
                            self._tell(worker)
            except self._errors as error:
                self._lost(error)
                stopped.wait(_RETRY_S)
            finally:
                client.close()

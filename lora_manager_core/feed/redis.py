"""The feed of several processes: what one publishes is heard in all, relayed through Redis.

A process tells its own listeners at once, through a `MemoryFeed`, whether Redis is there or not. A
thread then sends the event to Redis, where a script keeps the order of each job over all processes,
remembers the job's last state and passes the event on; another thread hears what the others sent.
After a lost connection each process compares the last states of Redis with its own and both catch
up, so an end comes through even if Redis was started anew and empty.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from lora_manager_core.errors import ExtraNotInstalled
from lora_manager_core.feed.backlog import Backlog
from lora_manager_core.feed.base import STARTED, Feed, FeedEvent, Listener
from lora_manager_core.feed.memory import REMEMBERED, MemoryFeed

_log = logging.getLogger(__name__)

#: The order of one job, as in `MemoryFeed`; what breaks it, or was said before, changes nothing.
#: KEYS: last events, how far each job is, when each running one was last heard of, ended ones.
#: ARGV: channel, sender, event, job, step ("start", "end" or ""), progress or "", seconds now,
#: seconds after which a silent job is forgotten, ended jobs to remember.
_RELAY = """
local channel, sender, event, job, step, progress = unpack(ARGV, 1, 6)
local now, patience, remembered = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local last, place, running, ended = unpack(KEYS)
local before = redis.call('HGET', place, job)
if before == 'end' or (before and step == 'start') then return 0 end
if before and step == '' then
    if before ~= '' and progress ~= '' and tonumber(progress) < tonumber(before) then return 0 end
    if redis.call('HGET', last, job) == event then return 0 end
end
local function forget(jobs, from)
    for _, gone in ipairs(jobs) do
        redis.call('HDEL', last, gone)
        redis.call('HDEL', place, gone)
        redis.call('ZREM', from, gone)
    end
end
redis.call('HSET', last, job, event)
if step == 'end' then
    redis.call('HSET', place, job, 'end')
    redis.call('ZREM', running, job)
    redis.call('ZADD', ended, now, job)
    forget(redis.call('ZRANGE', ended, 0, -1 - remembered), ended)
else
    redis.call('HSET', place, job, progress)
    redis.call('ZADD', running, now, job)
end
forget(redis.call('ZRANGEBYSCORE', running, '-inf', now - patience), running)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, patience) end
redis.call('PUBLISH', channel, sender .. event)
return 1
"""

#: A job nobody has spoken of for so long is forgotten: its process died, and its database with it.
_PATIENCE_S = 24 * 3600
#: Events that may wait for Redis to come back; beyond it the oldest progress goes first.
_MOST_WAITING = 1000
_AT_ONCE = 100
_CONNECT_WITHIN_S = 1.0
_ANSWER_WITHIN_S = 2.0
#: `start` waits so long for the last states of the others.
_CATCH_UP_WITHIN_S = 2.0
#: Pauses between tries to reach Redis: the first, and the longest.
_PAUSES_S = (0.1, 5.0)
#: After such a silence Redis is asked whether it is still there; after another it is given up.
_SILENCE_S = 10.0
#: A wish for previews is repeated so often, and holds a few times as long.
_WISH_EVERY_S = 2.0
_WISH_HOLDS_S = 7.0
_WANTED = b"wanted"


class RedisFeed(Feed):
    """Publishes to and hears from every process that has the same Redis and `namespace`.

    Nothing is reached before `start`; until then, and while Redis is gone, the listeners of this
    process hear its own events, and the others hear of them later.
    """

    def __init__(self, url: str, namespace: str = "lora-manager") -> None:
        self._url = url
        self._events = f"{namespace}:feed"
        self._wishes = f"{self._events}:previews"
        self._keys = [f"{self._events}:{name}" for name in ("last", "place", "running", "ended")]
        self._sender = uuid.uuid4().hex
        self._memory = MemoryFeed()
        self._order = threading.RLock()  # what is told here first is also sent first
        self._backlog: Backlog[FeedEvent] = Backlog(_MOST_WAITING)
        self._wake = threading.Event()
        self._caught_up = threading.Event()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._wish_told = False
        self._wish_told_at = 0.0
        self._wished_until: dict[str, float] = {}

    def start(self) -> None:
        """Connect, in the background if it takes long, and take over the last states.

        Raises:
            ExtraNotInstalled: the `redis` package is not there.
        """
        if self._threads:
            return
        self._client().close()  # so that a missing library or a wrong URL is told here
        self._stopped = threading.Event()
        self._caught_up.clear()
        loops: list[tuple[str, Callable[[threading.Event], None]]] = [
            ("feed-sender", self._send),
            ("feed-receiver", self._receive),
        ]
        for name, loop in loops:
            thread = threading.Thread(target=loop, args=(self._stopped,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self._caught_up.wait(_CATCH_UP_WITHIN_S)

    def stop(self) -> None:
        """Send what waits, if Redis is there, and disconnect."""
        self._stopped.set()
        self._wake.set()
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(_CONNECT_WITHIN_S + _ANSWER_WITHIN_S)

    def publish(self, event: FeedEvent) -> None:
        """Tell this process's listeners now and the others as soon as may be; never waits."""
        with self._order:
            if self._memory.offer(event):
                self._backlog.put(event)
        self._wake.set()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener for the events of all processes."""
        return self._memory.subscribe(listener)

    def last_events(self) -> list[FeedEvent]:
        """The last event of each job of any process, as far as this one has heard."""
        return self._memory.last_events()

    def want_previews(self, wanted: bool) -> None:
        """Say it for this process; the others hear of it."""
        self._memory.want_previews(wanted)
        self._wake.set()

    def previews_wanted(self) -> bool:
        """Whether this process or, in the last seconds, another said so; asks nobody."""
        if self._memory.previews_wanted():
            return True
        now = time.monotonic()
        return any(until > now for until in self._wished_until.values())

    def _client(self) -> Any:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ExtraNotInstalled(
                "LORA_MANAGER_REDIS_URL is set, and the `redis` package is not installed: "
                "pip install 'sd-lora-manager[redis]'."
            ) from error
        return redis.Redis.from_url(
            self._url,
            socket_connect_timeout=_CONNECT_WITHIN_S,
            socket_timeout=_ANSWER_WITHIN_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),  # the loops below try again, with pauses of their own
        )

    def _send(self, stopped: threading.Event) -> None:
        """The sender's loop: whatever waits, and the wish for previews."""
        from redis.exceptions import RedisError

        pauses = _Pauses("The feed cannot send to Redis; it goes on within this process")
        with self._client() as client:
            while True:
                self._wake.wait(_WISH_EVERY_S)
                self._wake.clear()
                last_time = stopped.is_set()
                with self._order:
                    events = self._backlog.take_all()
                try:
                    while events:
                        self._relay(client, events[:_AT_ONCE])
                        del events[:_AT_ONCE]
                    self._tell_wish(client, last_time)
                    pauses.over()
                except RedisError as error:
                    with self._order:
                        for event in events + self._backlog.take_all():
                            self._backlog.put(event)
                    if not last_time:
                        stopped.wait(pauses.next(error))
                        self._wake.set()
                if last_time:
                    return

    def _relay(self, client: Any, events: Sequence[FeedEvent]) -> None:
        pipeline = client.pipeline(transaction=False)
        for event in events:
            step = "end" if event.is_end else "start" if event.type == STARTED else ""
            progress = event.data.get("progress")
            pipeline.eval(
                _RELAY,
                len(self._keys),
                *self._keys,
                self._events,
                self._sender,
                _encode(event),
                event.job_id,
                step,
                "" if progress is None else repr(float(progress)),
                time.time(),
                _PATIENCE_S,
                REMEMBERED,
            )
        pipeline.execute()

    def _tell_wish(self, client: Any, last_time: bool) -> None:
        wanted = self._memory.previews_wanted() and not last_time
        due = wanted and time.monotonic() >= self._wish_told_at + _WISH_EVERY_S
        if wanted == self._wish_told and not due and not last_time:
            return
        # The last one is sent in any case: it also wakes our own receiver, which is to stop.
        client.publish(self._wishes, self._sender.encode() + (_WANTED if wanted else b""))
        self._wish_told, self._wish_told_at = wanted, time.monotonic()

    def _receive(self, stopped: threading.Event) -> None:
        """The receiver's loop: catch up, then hear, until the connection is lost; and again."""
        from redis.exceptions import RedisError

        pauses = _Pauses("The feed cannot hear from Redis; it goes on within this process")
        while not stopped.is_set():
            try:
                with self._client() as client, client.pubsub() as pubsub:
                    pubsub.subscribe(self._events, self._wishes)
                    for _ in range(2):  # what is sent after these two answers cannot be missed
                        _hear(pubsub)
                    self._catch_up(client)
                    self._caught_up.set()
                    pauses.over()
                    while not stopped.is_set():
                        message = _hear(pubsub)
                        if message["type"] == "message":
                            self._take(message["channel"].decode(), message["data"])
            except RedisError as error:
                if not stopped.is_set():
                    stopped.wait(pauses.next(error))

    def _catch_up(self, client: Any) -> None:
        stored = [_decode(raw) for raw in client.hvals(self._keys[0])]
        theirs = {event.job_id: event for event in stored if event is not None}
        for event in sorted(theirs.values(), key=lambda event: event.timestamp):
            self._memory.offer(event)
        with self._order:
            for event in self._memory.last_events():
                if theirs.get(event.job_id) != event:
                    self._backlog.put(event)
        self._wake.set()

    def _take(self, channel: str, data: bytes) -> None:
        size = len(self._sender)
        sender = data[:size].decode("ascii", "replace")
        if sender == self._sender:
            return
        if channel == self._wishes:
            now = time.monotonic()
            still = {name: until for name, until in self._wished_until.items() if until > now}
            held_s = _WISH_HOLDS_S if data[size:] == _WANTED else 0.0
            self._wished_until = {**still, sender: now + held_s}
        elif (event := _decode(data[size:])) is not None:
            self._memory.offer(event)


class _Pauses:
    """Growing pauses between tries; the first failure and the success after it are logged."""

    def __init__(self, trouble: str) -> None:
        self._trouble = trouble
        self._next_s: float | None = None

    def next(self, error: Exception) -> float:
        """Seconds to wait after this failure."""
        if self._next_s is None:
            _log.warning("%s: %s", self._trouble, error)
            self._next_s = _PAUSES_S[0]
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, _PAUSES_S[1])
        return pause_s

    def over(self) -> None:
        """It worked."""
        if self._next_s is not None:
            _log.info("The feed has Redis again.")
        self._next_s = None


def _hear(pubsub: Any) -> dict[str, Any]:
    """The next message; raises redis's TimeoutError when the connection is dead."""
    from redis.exceptions import TimeoutError as RedisTimeout

    message = pubsub.get_message(timeout=_SILENCE_S)
    if message is None:
        pubsub.ping()
        message = pubsub.get_message(timeout=_SILENCE_S)
    if message is None:
        raise RedisTimeout("Redis does not answer a ping.")
    return dict(message)


def _encode(event: FeedEvent) -> bytes:
    return orjson.dumps([event.type, event.job_id, event.timestamp, event.data])


def _decode(raw: bytes) -> FeedEvent | None:
    try:
        kind, job_id, timestamp, data = orjson.loads(raw)
    except (ValueError, TypeError):
        _log.warning("Something that is no event came over the feed's channel: %r", raw[:100])
        return None
    return FeedEvent(kind, job_id, data, timestamp)

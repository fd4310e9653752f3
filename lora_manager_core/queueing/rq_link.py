"""The way to one Redis: connections, the names used there, and whether it answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lora_manager_core.errors import ExtraNotInstalled

_log = logging.getLogger(__name__)

#: An answer of Redis that takes longer counts as none.
_ANSWER_S = 5.0


class RedisLink:
    """Names in Redis begin with `namespace`: queues `{namespace}-{lane}`, `{namespace}:cancel`.

    Raises:
        ExtraNotInstalled: the `redis` extra is missing.
    """

    def __init__(self, url: str, namespace: str) -> None:
        try:
            import rq  # noqa: F401 - asked here, so that a missing extra is told at the start
            from redis.exceptions import RedisError
        except ImportError as error:
            raise ExtraNotInstalled(
                "The queue on Redis needs further libraries: pip install 'sd-lora-manager[redis]'."
            ) from error
        self._url = url
        self._namespace = namespace
        self.cancel_channel = f"{namespace}:cancel"
        #: What a call to Redis may raise.
        self.errors = (RedisError, OSError)
        #: Why Redis did not answer at the last try; None if it did.
        self.problem: str | None = None

    def connect(self, blocking_s: float = 0.0) -> Any:
        """A client, connected on first use, whose commands block for so long at most."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return Redis.from_url(
            self._url,
            socket_connect_timeout=2.0,
            socket_timeout=blocking_s + _ANSWER_S,
            # once, for a connection that a restart of Redis has cut; no caller is to wait for more
            retry=Retry(NoBackoff(), 1),
        )

    def queue(self, lane: str, client: Any) -> Any:
        """RQ's queue of a lane."""
        from rq import Queue
        from rq.serializers import JSONSerializer

        name = f"{self._namespace}-{lane}"
        return Queue(name, connection=client, serializer=JSONSerializer)

    def lane(self, queue_name: str) -> str:
        """The lane of a queue's name."""
        return queue_name.removeprefix(f"{self._namespace}-")

    def lost(self, error: BaseException) -> None:
        """Redis did not answer: say so once."""
        if self.problem is None:
            _log.warning(
                "Redis cannot be reached (%s): jobs wait in the database until it answers", error
            )
        self.problem = f"Redis cannot be reached: {error}"

    def found(self) -> None:
        """Redis answered: say so if it did not before."""
        if self.problem is not None:
            self.problem = None
            _log.info("Redis answers again")

    @contextmanager
    def if_reached(self) -> Iterator[None]:
        """Leave a block without a word of its own when Redis does not answer."""
        try:
            yield
        except self.errors as error:
            self.lost(error)
        else:
            self.found()

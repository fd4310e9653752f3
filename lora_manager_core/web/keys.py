"""API keys: made once, shown once, stored as SHA-256, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
import uuid
from dataclasses import dataclass

from sqlalchemy import select

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import ApiKey
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import NotFound

#: How long another process's new or revoked key may go unnoticed, in seconds.
_CACHE_S = 2.0


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it may be shown: never the key itself."""

    id: str
    label: str
    created_at: str


class ApiKeys:
    """The keys of this installation; `fixed_key` is the one from the settings, if any."""

    def __init__(self, database: Database, fixed_key: str | None = None) -> None:
        self._database = database
        self._fixed = _digest(fixed_key) if fixed_key else None
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._digests: tuple[str, ...] = ()

    def add(self, label: str) -> str:
        """Make a key and give it: this is the only time it can be seen."""
        key = "lm_" + secrets.token_urlsafe(32)
        with self._database.write() as session:
            session.add(
                ApiKey(
                    id=str(uuid.uuid4()),
                    label=label,
                    key_hash=_digest(key),
                    created_at=utc_now(),
                )
            )
        self._read_at = float("-inf")
        return key

    def list_keys(self) -> list[KeyInfo]:
        """All stored keys, oldest first."""
        with self._database.read() as session:
            rows = session.scalars(select(ApiKey).order_by(ApiKey.created_at)).all()
            return [KeyInfo(row.id, row.label, row.created_at) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Delete a key; raises `NotFound`."""
        with self._database.write() as session:
            key = session.get(ApiKey, key_id)
            if key is None:
                raise NotFound(f"There is no key {key_id}.")
            session.delete(key)
        self._read_at = float("-inf")

    def exist(self) -> bool:
        """Whether there is any key, so that callers need one."""
        return bool(self._current())

    def accept(self, presented: str) -> bool:
        """Whether this is one of the keys."""
        digest = _digest(presented)
        matches = [hmac.compare_digest(digest, known) for known in self._current()]
        return any(matches)

    def is_fresh(self) -> bool:
        """Whether `exist` and `accept` answer from memory just now."""
        return time.monotonic() - self._read_at < _CACHE_S

    def _current(self) -> tuple[str, ...]:
        with self._lock:
            if not self.is_fresh():
                with self._database.read() as session:
                    stored = tuple(session.scalars(select(ApiKey.key_hash)))
                self._digests = (*stored, self._fixed) if self._fixed else stored
                self._read_at = time.monotonic()
            return self._digests


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()

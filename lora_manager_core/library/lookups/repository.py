"""The queries on what providers said; one answer per provider and hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import LookUp
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession


class LookUps:
    """Answers for reading."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def get(self, provider: str, sha256: str) -> LookUp | None:
        """What a provider said of a file."""
        return self._session.get(LookUp, (provider, sha256))

    def times(self, provider: str) -> dict[str, tuple[bool, str]]:
        """Hash → whether it was found, and when it was asked for."""
        query = select(LookUp.sha256, LookUp.found, LookUp.asked_at).where(
            LookUp.provider == provider
        )
        return {sha256: (found, at) for sha256, found, at in self._session.execute(query)}


class LookUpWriter(LookUps):
    """Answers for writing."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    def put(self, provider: str, sha256: str, answer: Mapping[str, Any] | None) -> None:
        """Remember an answer, None for "not known"; the one before is forgotten."""
        self._session.merge(
            LookUp(
                provider=provider,
                sha256=sha256,
                found=answer is not None,
                answer=None if answer is None else dict(answer),
                asked_at=utc_now(),
            )
        )

"""The queries on stored pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import delete, select

from lora_manager_core.backends.base import GeneratedImage
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import Result, ResultImage
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession


class Results:
    """Pictures of finished jobs."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def images(self, job_id: str) -> list[ResultImage]:
        """The pictures of a job in their order."""
        query = select(ResultImage).where(ResultImage.job_id == job_id).order_by(ResultImage.number)
        return list(self._session.scalars(query))


class ResultWriter(Results):
    """Stores and forgets pictures."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def add(self, job_id: str, images: Sequence[GeneratedImage], paths: Sequence[Path]) -> None:
        """Record the stored files of a job, as its result."""
        now = utc_now()
        self._session.add(Result(job_id=job_id, finished_at=now))
        for number, (image, path) in enumerate(zip(images, paths, strict=True)):
            self._session.add(
                ResultImage(
                    job_id=job_id,
                    number=number,
                    file_path=str(path),
                    width=image.width,
                    height=image.height,
                    seed=image.seed,
                    infotext=image.infotext,
                    created_at=now,
                )
            )
        self._session.flush()

    def forget(self, job_id: str) -> None:
        """Drop the rows of a job's result and its pictures."""
        self._session.execute(delete(Result).where(Result.job_id == job_id))
        self._session.execute(delete(ResultImage).where(ResultImage.job_id == job_id))

"""The queries on results and their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, select, update

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import Job, Result, ResultImage
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.generation.pictures import StoredPicture

#: Ids per statement (SQLite allows 32,766 parameters).
_CHUNK = 5000
_COLUMNS = (
    Result.job_id,
    Result.finished_at,
    Result.rating,
    Result.is_favorite,
    Job.kind,
    Job.payload,
    Job.result,
    Job.created_at,
)


@dataclass(frozen=True, slots=True)
class ResultQuery:
    """Which results; `words` without case, all of which the prompt must hold."""

    favorite: bool | None = None
    min_rating: int | None = None
    words: tuple[str, ...] = ()

    @property
    def clauses(self) -> list[ColumnElement[bool]]:
        """As conditions on the table."""
        clauses = [Result.prompt_key.contains(word, autoescape=True) for word in self.words]
        if self.favorite is not None:
            clauses.append(Result.is_favorite.is_(self.favorite))
        if self.min_rating is not None:
            clauses.append(Result.rating >= self.min_rating)
        return clauses


class Results:
    """What finished jobs made."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def page(self, query: ResultQuery, limit: int, offset: int) -> Sequence[Row[Any]]:
        """Results with the columns of their jobs, newest first."""
        rows = _with_jobs().where(*query.clauses).order_by(Result.finished_at.desc(), Result.job_id)
        return self._session.execute(rows.limit(limit).offset(offset)).all()

    def count(self, query: ResultQuery) -> int:
        """How many there are."""
        counted = select(func.count()).select_from(Result).where(*query.clauses)
        return self._session.scalar(counted) or 0

    def get(self, job_id: str) -> Row[Any] | None:
        """One result with the columns of its job."""
        return self._session.execute(_with_jobs().where(Result.job_id == job_id)).first()

    def existing(self, job_ids: Sequence[str]) -> list[str]:
        """Those of the ids that are results', each once, in their order."""
        found: set[str] = set()
        for chunk in _chunks(job_ids):
            found.update(
                self._session.scalars(select(Result.job_id).where(Result.job_id.in_(chunk)))
            )
        return [job_id for job_id in dict.fromkeys(job_ids) if job_id in found]

    def images(self, job_id: str) -> list[ResultImage]:
        """The pictures of a job in their order."""
        return self.images_of([job_id])

    def images_of(self, job_ids: Sequence[str]) -> list[ResultImage]:
        """The pictures of jobs, by job and in their order."""
        found: list[ResultImage] = []
        for chunk in _chunks(job_ids):
            query = select(ResultImage).where(ResultImage.job_id.in_(chunk))
            found += self._session.scalars(query.order_by(ResultImage.job_id, ResultImage.number))
        return found


class ResultWriter(Results):
    """Adds, rates and deletes results."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def add(self, job_id: str, prompt: str, pictures: Sequence[StoredPicture]) -> None:
        """Record the stored files of a job, as its result."""
        now = utc_now()
        self._session.add(Result(job_id=job_id, finished_at=now, prompt_key=prompt.casefold()))
        for number, picture in enumerate(pictures):
            self._session.add(
                ResultImage(
                    job_id=job_id,
                    number=number,
                    file_path=str(picture.path),
                    width=picture.width,
                    height=picture.height,
                    seed=picture.seed,
                    infotext=picture.infotext,
                    created_at=now,
                )
            )
        self._session.flush()

    def set(self, job_ids: Sequence[str], **values: Any) -> None:
        """Change `rating` or `is_favorite` of results."""
        for chunk in _chunks(job_ids):
            self._session.execute(
                update(Result)
                .where(Result.job_id.in_(chunk))
                .values(**values)
                .execution_options(synchronize_session=False)
            )
        counters.raise_counter(self._session, counters.FEEDBACK)

    def forget(self, job_id: str) -> None:
        """Drop the rows of a job's result and its pictures; the job stays."""
        self._session.execute(delete(Result).where(Result.job_id == job_id))
        self._session.execute(delete(ResultImage).where(ResultImage.job_id == job_id))

    def delete(self, job_ids: Sequence[str]) -> None:
        """Delete results with their jobs and everything that belongs to those."""
        for chunk in _chunks(job_ids):
            self._session.execute(
                delete(Job).where(Job.id.in_(chunk)).execution_options(synchronize_session=False)
            )
        counters.raise_counter(self._session, counters.FEEDBACK)


def _with_jobs() -> Select[Any]:
    return select(*_COLUMNS).join(Job, Job.id == Result.job_id)


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]

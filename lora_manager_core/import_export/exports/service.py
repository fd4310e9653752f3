"""What people do with exports: estimate, stream, make in the background, download, delete."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import AdapterNotFound, Busy, InvalidRequest, LoraManagerError
from lora_manager_core.feed.base import Feed
from lora_manager_core.import_export.archive.zip_writer import require_encryption
from lora_manager_core.import_export.exports.archive_writer import (
    ArchiveStream,
    ArchiveWriter,
    ProgressOf,
)
from lora_manager_core.import_export.exports.choice import Choice
from lora_manager_core.import_export.exports.estimate import Estimates, Throughput
from lora_manager_core.import_export.exports.folder import ExportFolder, StoredExport, export_name
from lora_manager_core.import_export.exports.job import ExportJob, choice_of, payload_of
from lora_manager_core.import_export.exports.repository import ExportRepository
from lora_manager_core.import_export.kinds import ARCHIVE_JOBS, EXPORT_JOB
from lora_manager_core.import_export.room import require_room
from lora_manager_core.import_export.schemas import ExportEstimate, ExportRequest
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import CANCELLED, FAILED, LIBRARY_LANE, SUCCEEDED
from lora_manager_core.queueing.events import publish_end, publish_progress, publish_started
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore

#: Exports that are streamed at once; each has two threads and its snapshot on the disk.
_MOST_STREAMS = 8
_MEGABYTE = 10**6


class ExportService:
    """The exports of this installation."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        feed: Feed,
        writer: ArchiveWriter,
        folder: ExportFolder,
        secrets: Secrets,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._feed = feed
        self._writer = writer
        self._folder = folder
        self._secrets = secrets
        self._throughput = Throughput()
        self._estimates = Estimates(database, self._throughput)
        self._streams = threading.BoundedSemaphore(_MOST_STREAMS)
        runner.register(EXPORT_JOB, ExportJob(writer, folder, secrets).run)

    def estimate(self, request: ExportRequest) -> ExportEstimate:
        """What an export will come to; raises as `stream` does, but asks for no password."""
        return self._estimates.estimate(self._choice(request, ""))

    def stream(self, request: ExportRequest) -> ExportStream:
        """An archive that is made while it is taken; the feed tells how far it is.

        Raises:
            InvalidRequest: the request is meaningless as it stands, see the message.
            AdapterNotFound: ids are unknown (named in `unknown_ids`).
            ExtraNotInstalled: it is to be encrypted, and what encrypts is not installed.
            Busy: too many exports are being taken.
        """
        export_id = str(uuid.uuid4())
        choice = self._choice(request, export_id)
        password = _password(request)
        if not self._streams.acquire(blocking=False):
            raise Busy("Too many exports are being downloaded; try again when one has ended.")
        return ExportStream(
            self._writer.stream(choice, password),
            _as_job(export_id, request),
            self._feed,
            self._throughput,
            self._streams,
        )

    def start(self, request: ExportRequest) -> Job:
        """Make an archive as a job, to be downloaded later; raises as `stream` does.

        Raises:
            DiskFull: it would not fit.
        """
        choice = self._choice(request, "")
        password = _password(request)
        estimate = self._estimates.estimate(choice)
        self._folder.path.mkdir(parents=True, exist_ok=True)
        require_room(self._folder.path, estimate.size_bytes)
        self._sweep_secrets()  # of jobs that were cancelled
        work = max(0.1, estimate.size_bytes / _MEGABYTE)
        with self._secrets.kept(password) as secret, self._database.write() as session:
            payload = payload_of(request, utc_now(), secret)
            return self._jobs.submit(session, EXPORT_JOB, LIBRARY_LANE, payload, work=work)

    def list(self) -> list[StoredExport]:
        """Finished exports that were made as jobs, newest first."""
        return self._folder.list()

    def get(self, export_id: str) -> StoredExport:
        """One of them; raises `ExportNotFound`."""
        return self._folder.get(export_id)

    def delete(self, export_id: str) -> None:
        """Delete one of them; raises `ExportNotFound`."""
        self._folder.remove(export_id)

    def remove_leftovers(self) -> None:
        """Remove what dead processes left: parts of archives, and passwords nobody waits for."""
        jobs = self._sweep_secrets()
        self._folder.remove_leftovers([job.id for job in jobs])
        self._writer.remove_leftovers()

    def _sweep_secrets(self) -> Sequence[Job]:
        """Remove passwords of jobs that are no more; gives the jobs that are unfinished."""
        with self._database.read() as session:
            jobs = JobStore(session).list_unfinished(ARCHIVE_JOBS)
        self._secrets.sweep([job.payload.get("secret") or "" for job in jobs])
        return jobs

    def _choice(self, request: ExportRequest, export_id: str) -> Choice:
        if request.format != "zip":
            raise InvalidRequest(f"The format {request.format!r} is not supported; ask for `zip`.")
        if request.split_archives:
            raise InvalidRequest(
                "Archives are not split: a ZIP64 may have any size. Leave `split_archives` out."
            )
        choice = choice_of(request, export_id)
        if choice.adapter_ids:
            with self._database.read() as session:
                unknown = ExportRepository(session).unknown(choice.adapter_ids)
            if unknown:
                raise AdapterNotFound(
                    f"{len(unknown)} of the ids are unknown; nothing was exported.",
                    unknown_ids=unknown,
                )
        return choice


class ExportStream(Iterator[bytes]):
    """A stream that the feed follows: one start, progress, one end. To be closed in any case."""

    def __init__(
        self,
        stream: ArchiveStream,
        job: Job,
        feed: Feed,
        throughput: Throughput,
        places: threading.Semaphore,
    ) -> None:
        self.id = job.id
        self.file_name = export_name(job.created_at)
        self._stream = stream
        self._job = job
        self._feed = feed
        self._throughput = throughput
        self._places = places
        self._progress = ProgressOf(stream)
        self._started_at: float | None = None
        self._ended = False

    def __next__(self) -> bytes:
        if self._started_at is None:
            self._started_at = time.monotonic()
            publish_started(self._feed, self._job, None)  # to estimate it would take a moment
        try:
            piece = next(self._stream)
        except StopIteration:
            self._end(SUCCEEDED if self._stream.written is not None else CANCELLED)
            raise
        except LoraManagerError as error:
            self._end(FAILED, {"code": error.code, "detail": error.detail})
            raise
        except BaseException:
            detail = "The export failed unexpectedly; see the log."
            self._end(FAILED, {"code": "internal_error", "detail": detail})
            raise
        if (due := self._progress.due()) is not None:
            publish_progress(self._feed, self.id, self._job.kind, due.fraction, due)
        return piece

    def stop(self) -> None:
        """Stop making the archive soon; returns at once."""
        self._stream.stop()

    def close(self) -> None:
        """Stop making the archive; whoever did not take all of it has cancelled it."""
        self._end(CANCELLED)

    def _end(self, status: str, error: dict[str, str] | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        self._stream.close()  # whoever hears of the end finds nothing left of it
        self._places.release()
        if self._started_at is None:  # nobody took anything of it
            return
        duration_s = time.monotonic() - self._started_at
        written, result = self._stream.written, None
        if status == SUCCEEDED and written is not None:
            self._throughput.note(written.size_bytes, duration_s)
            result = {
                "export_id": self.id,
                "file_name": self.file_name,
                "size": written.size_bytes,
                "counts": dict(written.manifest.counts),
                "left_out": written.left_out_count,
            }
        publish_end(self._feed, self._job, status, result, error, round(duration_s, 3))


def _as_job(export_id: str, request: ExportRequest) -> Job:
    """What the feed is told of a stream, which has no row: nobody could take it up again."""
    created_at = utc_now()
    payload = payload_of(request, created_at, None)
    payload["request"].pop("adapter_ids", None)  # there may be a hundred thousand
    return Job(
        id=export_id,
        kind=EXPORT_JOB,
        payload=payload,
        work=0.0,
        created_at=created_at,
    )


def _password(request: ExportRequest) -> str | None:
    if request.encrypt and request.password is None:
        raise InvalidRequest("`encrypt` needs a `password`.")
    if not request.encrypt and request.password is not None:
        raise InvalidRequest(
            "There is a `password`, but `encrypt` is not true: the archive would be a plain one. "
            "Set `encrypt`, or leave the password out."
        )
    if request.encrypt:
        require_encryption()
    return request.password

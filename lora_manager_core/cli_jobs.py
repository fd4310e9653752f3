"""An application for one command, its jobs waited for and told of on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lora_manager_core.bootstrap import Application, Parts, build_application
from lora_manager_core.db.models import Job
from lora_manager_core.errors import JobAlreadyFinished, LoraManagerError
from lora_manager_core.feed.base import PROGRESS, Feed, FeedEvent
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.base import LIBRARY_LANE, SUCCEEDED
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.threads import ThreadQueue
from lora_manager_core.settings import Settings


@contextmanager
def started(settings: Settings) -> Iterator[Application]:
    """An application for one command, stopped after it."""
    # Only what this command is about: the pictures that wait are the server's to make.
    parts = Parts(queue=lambda runner: ThreadQueue(runner, {LIBRARY_LANE: 1}))
    application = build_application(settings, parts)
    application.start()
    try:
        yield application
    finally:
        application.stop()


def ended(application: Application, job_id: str) -> Job:
    """Wait for a job of ours; with Ctrl-C it is cancelled, and all taken back.

    Raises:
        LoraManagerError: it did not succeed, and why.
    """
    jobs = application.services.get(Jobs)
    try:
        job = jobs.wait(job_id)
    except KeyboardInterrupt:
        with suppress(JobAlreadyFinished):
            jobs.cancel(job_id)
        job = jobs.wait(job_id)
    if job.status != SUCCEEDED:
        stored = job.error or {}
        error = LoraManagerError(stored.get("detail", f"The job ended as {job.status}."))
        error.code = stored.get("code", error.code)
        raise error
    return job


def scanned(application: Application) -> None:
    """Wait for the scan that is under way, if one is."""
    library = application.services.get(LibraryService)
    job_id = library.overview()["scanning_job_id"]
    if job_id is not None:
        application.services.get(Jobs).wait(job_id)


@contextmanager
def told(application: Application) -> Iterator[None]:
    """How far it is, in one line that is written over, if somebody looks."""
    if not sys.stderr.isatty():
        yield
        return
    width = 0

    def _listen(event: FeedEvent) -> None:
        nonlocal width
        if event.type == PROGRESS:
            line = f"{event.data['progress']:5.0%}  {event.data.get('message') or ''}"
            sys.stderr.write(f"\r{line:<{width}}")
            sys.stderr.flush()
            width = len(line)

    unsubscribe = application.services.get(Feed).subscribe(_listen)  # type: ignore[type-abstract]
    try:
        yield
    finally:
        unsubscribe()
        sys.stderr.write(f"\r{'':<{width}}\r")

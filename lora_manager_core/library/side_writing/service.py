"""What a person does with side files: have them written, never without asking."""

from __future__ import annotations

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.chosen import require_known
from lora_manager_core.library.side_writing.job import SideFileJob
from lora_manager_core.library.side_writing.schemas import SideFilesRequest
from lora_manager_core.queueing.base import LIBRARY_LANE
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs

SIDE_FILES_JOB = "library.side-files"


class SideFileService:
    """Writes records into side files of other programs."""

    def __init__(self, database: Database, jobs: Jobs, runner: JobRunner, job: SideFileJob) -> None:
        self._database = database
        self._jobs = jobs
        runner.register(SIDE_FILES_JOB, job.run)

    def start(self, request: SideFilesRequest) -> Job:
        """Start writing.

        Raises:
            InvalidRequest: ids and a filter were both given.
            AdapterNotFound: adapters are named that there are not.
        """
        payload = {
            **request.order(),
            "formats": list(dict.fromkeys(request.formats)),
            "overwrite": request.overwrite,
        }
        with self._database.write() as session:
            require_known(session, request)
            return self._jobs.submit(session, SIDE_FILES_JOB, LIBRARY_LANE, payload)

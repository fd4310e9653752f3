"""A program that runs the real application and kills itself (SIGKILL) at its N-th commit.

It reads one case as a line of JSON, runs it in a fork of its own, so that no start has to import
anything again, and answers with a line of JSON: how that process ended, and what it had told its
callers by then. Cases of one `Program` may share a database.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event

from lora_manager_core.bootstrap import Application, Parts, build_application
from lora_manager_core.compose.schemas import ComposeRequest, DeliveryRequest
from lora_manager_core.compose.service import ComposeService
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.deliveries.schemas import DeliveryCreate
from lora_manager_core.deliveries.service import DeliveryService
from lora_manager_core.errors import BackendUnavailable
from lora_manager_core.import_export.backups.restoring import RestoreService
from lora_manager_core.import_export.imports.service import ImportService
from lora_manager_core.import_export.kinds import IMPORT_JOB, RESTORE_JOB
from lora_manager_core.import_export.schemas import BackupRestoreRequest, ImportConfig
from lora_manager_core.library.service import SCAN_JOB
from lora_manager_core.queueing.base import GPU_LANE, LIBRARY_LANE, UNFINISHED, JobQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.queueing.threads import ThreadQueue
from lora_manager_core.settings import Settings
from tests.fakes.backend import FakeBackend

_PATIENCE_S = 30.0
_PARAMS = {"generation_params": {"steps": 3, "width": 16, "height": 16, "batch_size": 2}}


@dataclass(frozen=True)
class Case:
    """What one process is to do; `kill_at` 0 lets it live, `before` says on which side it dies.

    A `library` in the data folder is its library folder, and `archive.zip` what it takes in.
    """

    data_dir: str
    database_url: str
    scenario: str
    key: str
    kill_at: int = 0
    before: bool = True


@dataclass(frozen=True)
class Ended:
    """`killed`, or ended by itself; `told` maps what callers were told to the job they asked of."""

    killed: bool
    told: Mapping[str, str]


class Program:
    """The running program, of which `run` asks one case after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.killed"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate(timeout=_PATIENCE_S)

    def run(self, case: Case) -> Ended:
        """Run one case to its end; raises if its process failed by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(case)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["failure"]:
            raise AssertionError(answer["failure"])
        return Ended(answer["killed"], answer["told"])


class _Run:
    """One process: the application, its backend, and the pipe that outlives it."""

    def __init__(self, case: Case, pipe: int) -> None:
        self.case = case
        self.backend = FakeBackend()
        self._pipe = pipe
        self._commits = 0
        self.folder = Path(case.data_dir)
        library = self.folder / "library"
        settings = Settings(
            data_dir=self.folder,
            database_url=case.database_url,
            library_roots=(library,) if library.exists() else (),
            import_path=library,
            backup_every_h=0,
        )
        parts = Parts(backends=lambda _database: [self.backend], queue=_quick_queue)
        self.application: Application = build_application(settings, parts)

    def go(self) -> None:
        """Start, do what the scenario says, wait for what is left, stop."""
        self.application.database.upgrade()
        if self.case.kill_at:
            engine = self.application.database.engine
            if self.case.before:
                event.listen(engine, "commit", self._count)
            else:
                event.listen(WriteSession, "after_commit", self._count)
        self.application.start()
        _SCENARIOS[self.case.scenario](self)
        self.application.stop()

    def tell(self, what: str, job_id: str) -> None:
        """What a caller is told now; it stays told if this process dies."""
        os.write(self._pipe, json.dumps({what: job_id}).encode() + b"\n")

    def deliver(self, key: str | None = None) -> str:
        """Send a delivery; gives its id once its caller has it."""
        request = DeliveryCreate(prompt="a fox", mode="sdnext", params=_PARAMS)
        job_id = self.application.services.get(DeliveryService).create(request, key)
        self.tell(key or "accepted", job_id)
        return job_id

    def wait_for_all(self) -> None:
        """Block until every job has ended."""
        jobs = self.application.services.get(Jobs)
        with self.application.database.read() as session:
            left = JobStore(session).list_unfinished(["generation"])
        for job in left:
            assert jobs.wait(job.id, _PATIENCE_S).status not in UNFINISHED, "a job is stuck"

    def wait_for_archives(self) -> None:
        """Block until every import and restore has ended, and every scan."""
        jobs = self.application.services.get(Jobs)
        while True:
            with self.application.database.read() as session:
                left = JobStore(session).list_unfinished([IMPORT_JOB, RESTORE_JOB, SCAN_JOB])
            if not left:
                return
            assert jobs.wait(left[0].id, _PATIENCE_S).status not in UNFINISHED, "a job is stuck"

    def _count(self, _committing: object) -> None:
        self._commits += 1
        if self._commits == self.case.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _quick_queue(runner: JobRunner) -> JobQueue:
    runner.first_pause_s = 0.05
    return ThreadQueue(runner, {GPU_LANE: 1, LIBRARY_LANE: 1})


def _deliver(run: _Run) -> None:
    run.deliver(run.case.key)
    run.wait_for_all()


def _compose(run: _Run) -> None:
    request = ComposeRequest(
        prefix="a fox", delivery=DeliveryRequest(mode="sdnext", params=_PARAMS)
    )
    composition = run.application.services.get(ComposeService).compose(request)
    assert composition.delivery is not None
    run.tell("accepted", composition.delivery.id)
    run.wait_for_all()


def _cancel_waiting(run: _Run) -> None:
    run.backend.gate.clear()
    run.deliver()
    run.backend.started.wait(_PATIENCE_S)
    waiting = run.deliver("waiting" + run.case.key)
    run.application.services.get(Jobs).cancel(waiting)
    run.tell("cancelled", waiting)
    run.backend.gate.set()
    run.wait_for_all()


def _cancel_running(run: _Run) -> None:
    run.backend.gate.clear()
    running = run.deliver()
    run.backend.started.wait(_PATIENCE_S)
    run.application.services.get(Jobs).cancel(running)
    run.tell("cancelled", running)
    run.wait_for_all()


def _retry(run: _Run) -> None:
    jobs = run.application.services.get(Jobs)
    run.backend.error = BackendUnavailable("SD.Next is starting.")
    job_id = run.deliver()
    while jobs.get(job_id).attempts < 2:
        time.sleep(0.01)
    run.backend.error = None
    run.wait_for_all()


def _stop(run: _Run) -> None:
    """Stopped in order while it makes one picture and another waits; both are the next start's."""
    run.backend.gate.clear()
    run.deliver()
    run.backend.started.wait(_PATIENCE_S)
    run.deliver("waiting" + run.case.key)


def _abandon(run: _Run) -> None:
    """Leaves a running job to the next start, which is the one that `recover` kills."""
    run.backend.gate.clear()
    run.deliver()
    run.backend.started.wait(_PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _recover(run: _Run) -> None:
    run.wait_for_all()


def _import(run: _Run) -> None:
    config = ImportConfig(conflict_resolution="replace", backup_before=False, background=True)
    imports = run.application.services.get(ImportService)
    started = imports.take_file(run.folder / "archive.zip", config)
    assert started.job_id is not None
    run.tell("accepted", started.job_id)
    run.wait_for_archives()


def _restore(run: _Run) -> None:
    request = BackupRestoreRequest(backup_before=False, background=True)
    restores = run.application.services.get(RestoreService)
    run.tell("accepted", restores.restore_file(run.folder / "archive.zip", request).job_id)
    run.wait_for_archives()


def _recover_archives(run: _Run) -> None:
    run.wait_for_archives()


_SCENARIOS: dict[str, Callable[[_Run], None]] = {
    "deliver": _deliver,
    "compose": _compose,
    "cancel a waiting job": _cancel_waiting,
    "cancel a running job": _cancel_running,
    "try again": _retry,
    "stop": _stop,
    "abandon": _abandon,
    "recover": _recover,
    "import": _import,
    "restore": _restore,
    "recover archives": _recover_archives,
}


def _in_fork(case: Case) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _Run(case, writer).go()
        except BaseException:  # noqa: BLE001 - told to the parent, as this process ends here
            os.write(writer, json.dumps({"failure": traceback.format_exc()}).encode() + b"\n")
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        told = {key: value for line in lines for key, value in json.loads(line).items()}
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    failure = told.pop("failure", None)
    if failure is None and not killed and status != 0:
        failure = f"ended with {status}"
    return {"killed": killed, "told": told, "failure": failure}


def _import_all() -> None:
    """Whatever a life would import by and by: half its time, if each fork did it again."""
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("wb") as nobody:
        url = f"sqlite:///{folder}/warm.sqlite3"
        _Run(Case(folder, url, "deliver", "warm"), nobody.fileno()).go()
    with suppress(ImportError):  # the `postgres` extra is not installed
        Database("postgresql://nobody@127.0.0.1/none").close()


def main() -> None:
    """Answer case after case until there is none."""
    _import_all()
    for line in sys.stdin:
        answer = _in_fork(Case(**json.loads(line)))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

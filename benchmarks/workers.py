"""How much faster two workers are than one, and what the queue adds to each picture.

    python benchmarks/workers.py [--jobs 100] [--picture-s 0.5] [--sqlite]

Each worker is a real `lora-manager worker` beside a stand-in SD.Next of its own, which takes a
fixed time for a picture. Redis and PostgreSQL are started as `./check` does it; without PostgreSQL,
or with --sqlite, the database is SQLite. The bare cost is what the stand-ins alone would take.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

_PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(_PROJECT), str(_PROJECT / ".ci")]

from servers import own_servers  # noqa: E402 - lies in .ci, which is no package

from lora_manager_core.bootstrap import Application, build_application  # noqa: E402
from lora_manager_core.db.models import Job, JobAttempt  # noqa: E402
from lora_manager_core.generation.schemas import GenerationParams, OutputOptions  # noqa: E402
from lora_manager_core.generation.service import GenerationService  # noqa: E402
from lora_manager_core.queueing.base import GPU_LANE, WorkerInfo  # noqa: E402
from lora_manager_core.queueing.service import Jobs  # noqa: E402
from lora_manager_core.settings import Settings  # noqa: E402
from tests.fakes.sdnext_server import FakeSdnext  # noqa: E402
from tests.processes import WorkerProcess  # noqa: E402

_STEPS = 4


def main() -> None:
    """Print a row for one worker and one for two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--picture-s", type=float, default=0.5, help="seconds for a picture")
    parser.add_argument("--sqlite", action="store_true", help="even if there is a PostgreSQL")
    args = parser.parse_args()
    with own_servers() as servers, tempfile.TemporaryDirectory() as folder:
        redis_url = servers.get("LORA_TEST_REDIS_URL")
        if redis_url is None:
            sys.exit("There is no redis-server on the PATH.")
        database_url = None if args.sqlite else servers.get("LORA_TEST_POSTGRES_URL")
        print(f"{args.jobs} pictures of {args.picture_s} s, queue on Redis, database", end=" ")
        print("PostgreSQL" if database_url else "SQLite")
        times_s = []
        for workers in (1, 2):
            settings = Settings(
                data_dir=Path(folder) / f"{workers}",
                output_dir=Path(folder) / "pictures",
                database_url=database_url,
                redis_url=f"{redis_url.rpartition('/')[0]}/{workers}",
            )
            times_s.append(measure(settings, workers, args.jobs, args.picture_s))
        print(f"two workers are {times_s[0] / times_s[1]:.2f} times as fast as one")


def measure(settings: Settings, workers: int, jobs: int, picture_s: float) -> float:
    """Queue the jobs for so many workers; prints a row and gives the seconds to the last end."""
    with ExitStack() as stack:
        application = build_application(settings)
        stack.callback(application.stop)
        application.start()
        sdnexts = [stack.enter_context(FakeSdnext()) for _ in range(workers)]
        for sdnext in sdnexts:
            sdnext.step_s = picture_s / _STEPS
            worker = WorkerProcess(settings, settings.data_dir, "--sdnext-url", sdnext.url)
            stack.callback(worker.close)
            worker.wait_until_at_work()
        while sum(GPU_LANE in worker.lanes for worker in _living(application)) < workers:
            time.sleep(0.05)
        began = time.perf_counter()
        ids = [_order(application) for _ in range(jobs)]
        wait = application.services.get(Jobs).wait
        statuses = Counter(wait(job_id).status for job_id in ids)
        took_s = time.perf_counter() - began
        made = [len(sdnext.finished) for sdnext in sdnexts]
        with application.database.read() as session:
            attempts = session.query(JobAttempt).join(Job, Job.id == JobAttempt.job_id)
            begun = Counter(attempt.job_id for attempt in attempts.filter(Job.id.in_(ids)))
    bare_s = jobs * picture_s / workers
    doubled = sum(count > 1 for count in begun.values())
    print(
        f"{workers} worker(s): {dict(statuses)}, made by each {made}, lost {jobs - sum(made)}, "
        f"begun twice {doubled}; {took_s:.1f} s, bare {bare_s:.1f} s, "
        f"on top of each picture {(took_s - bare_s) * workers / jobs * 1000:.0f} ms"
    )
    return took_s


def _living(application: Application) -> tuple[WorkerInfo, ...]:
    return application.services.get(Jobs).load().workers


def _order(application: Application) -> str:
    params = GenerationParams(
        prompt="a fox", width=64, height=64, steps=_STEPS, sampler_name="Euler"
    )
    output = OutputOptions(mode="deferred", return_format="url")
    return application.services.get(GenerationService).generate(params, output).job_id


if __name__ == "__main__":
    main()

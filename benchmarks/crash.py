"""Kills the server under load, again and again: what is lost, doubled or stuck in the end?

    python benchmarks/crash.py [--kills 50] [--seed 1] [--postgres | --database-url URL]

The stand-alone server runs as a process of its own beside a stand-in for SD.Next. Clients send
deliveries, each under an Idempotency-Key, cancel some, and repeat what broke off until they have an
answer, as clients that want their pictures do. The server is killed (-9) at random moments, some
right after its start, and started again each time. In the end it may finish what is left, and the
database and the output folder are compared with what the clients were told. Ends with 0 only if
nothing was lost, doubled or stuck.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from killable import ROOT, Server, ask, reading
from PIL import Image
from sqlalchemy import select

from lora_manager_core.db.models import Job, JobAttempt, Result, ResultImage
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.base import CANCELLED, ENDED, FAILED, SUCCEEDED

sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

from servers import own_servers  # noqa: E402 - beside ./check, which has no package

from tests.fakes.sdnext_server import FakeSdnext  # noqa: E402

_CLIENTS = 4
#: Deliveries that one client waits for at a time: what waits at a kill, in all, is four times that.
_OUTSTANDING = 5
_CANCELS = 0.15
#: How many kills come before the server has answered for the first time.
_KILLS_AT_START = 0.3
_DRAIN_S = 120.0


@dataclass
class Told:
    """What the clients know: ids by key as they were answered, and whose cancel was accepted."""

    ids: dict[str, set[str]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    repeats: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> None:
    """Print what became of every delivery."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own")
    parser.add_argument("--database-url", help="on this database; default: a new SQLite file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.postgres:
            with own_servers() as environment:
                url = environment.get("LORA_TEST_POSTGRES_URL")
                if url is None:
                    sys.exit("PostgreSQL is not installed, or there is no user to run it as.")
                sys.exit(run(Path(folder), url, args.kills, args.seed))
        url = args.database_url or f"sqlite:///{Path(folder).as_posix()}/lora-manager.sqlite3"
        sys.exit(run(Path(folder), url, args.kills, args.seed))


def run(folder: Path, url: str, kills: int, seed: int) -> int:
    """One run; gives 0 if nothing was lost, doubled or stuck."""
    chance = random.Random(seed)
    told, done = Told(), threading.Event()
    prefix = f"crash-{uuid.uuid4().hex}-"
    with FakeSdnext() as sdnext:
        server = Server(folder, url, ["--sdnext-url", sdnext.url])
        clients = [
            threading.Thread(
                target=be_client,
                args=(server.port, told, done, f"{prefix}{number}-", random.Random(seed + number)),
            )
            for number in range(1, _CLIENTS + 1)
        ]
        started = time.monotonic()
        server.start()
        server.wait_until_ready()
        for client in clients:
            client.start()
        for _ in range(kills):
            sdnext.step_s = chance.uniform(0.015, 0.05)  # 3 steps: a picture takes 50 to 150 ms
            if chance.random() < _KILLS_AT_START:
                time.sleep(chance.uniform(0.0, server.usual_start_s))
            else:
                server.wait_until_ready()
                time.sleep(chance.uniform(0.0, 2.0))
            server.kill()
            server.start()
        done.set()
        for client in clients:
            client.join()
        stuck = wait_for_ends(url, prefix)
        server.stop()
        took_s = time.monotonic() - started
    print(f"{Database(url).engine.dialect.name}, seed {seed}, load {os.getloadavg()[0]:.1f}")
    print(f"{kills} kills in {took_s:.0f} s; start to first answer: {server.usual_start_s:.1f} s")
    print(f"requests repeated after a broken connection: {told.repeats}")
    return report(url, prefix, folder / "outputs", told, stuck)


def be_client(
    port: int, told: Told, done: threading.Event, prefix: str, chance: random.Random
) -> None:
    """Send deliveries until `done`, and go on with each request until it is answered."""

    def insist(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        while True:
            try:
                status, answer = ask(port, method, path, body, **headers)
                if status < 500:
                    return status, answer
            except OSError:
                pass
            with told.lock:
                told.repeats += 1
            time.sleep(0.2)

    outstanding: list[str] = []
    number = 0
    while not done.is_set():
        key, number = f"{prefix}{number}", number + 1
        order = {"steps": 3, "width": 16, "height": 16, "seed": number}
        body = {"prompt": key, "mode": "sdnext", "params": {"generation_params": order}}
        for _ in range(2 if chance.random() < 0.1 else 1):  # some clients repeat for no reason
            status, answer = insist("POST", "/v1/deliveries", body, **{"Idempotency-Key": key})
            if status != 201:
                sys.exit(f"A delivery was answered with {status}: {answer}")
            with told.lock:
                told.ids.setdefault(key, set()).add(answer["delivery_id"])
        outstanding.append(answer["delivery_id"])
        if chance.random() < _CANCELS:
            time.sleep(chance.uniform(0.0, 0.5))
            if insist("POST", f"/v1/deliveries/{outstanding[-1]}/cancel")[0] == 200:
                with told.lock:
                    told.cancelled.add(outstanding[-1])
        while len(outstanding) >= _OUTSTANDING and not done.is_set():
            _, record = insist("GET", f"/v1/deliveries/{outstanding[0]}")
            if record["delivery"]["status"] in ENDED:
                outstanding.pop(0)
            else:
                time.sleep(0.05)


def wait_for_ends(url: str, prefix: str) -> list[Job]:
    """Let the server finish what is left; gives the jobs that have not ended even so."""
    give_up_at = time.monotonic() + _DRAIN_S
    while True:
        with reading(url) as session:
            left = [job for job in _jobs(session, prefix) if job.status not in ENDED]
        if not left or time.monotonic() > give_up_at:
            return left
        time.sleep(0.2)


def _jobs(session: Any, prefix: str) -> list[Job]:
    return list(session.scalars(select(Job).where(Job.idempotency_key.startswith(prefix))))


def report(url: str, prefix: str, outputs: Path, told: Told, stuck: list[Job]) -> int:
    """Compare what clients were told with what is there, and print it; gives the exit status."""
    with reading(url) as session:
        jobs = {job.id: job for job in _jobs(session, prefix)}
        attempts = [
            attempt
            for attempt in session.scalars(
                select(JobAttempt).order_by(JobAttempt.job_id, JobAttempt.number)
            )
            if attempt.job_id in jobs
        ]
        results = set(session.scalars(select(Result.job_id)))
        images = [i for i in session.scalars(select(ResultImage)) if i.job_id in jobs]
    states = Counter(job.status for job in jobs.values())
    accepted = set().union(*told.ids.values())
    again = Counter(attempt.outcome for attempt in attempts)
    print(f"accepted {len(accepted)}: {', '.join(f'{n} {s}' for s, n in states.most_common())}")
    print(f"attempts {len(attempts)}, of which {again['abandoned']} ended with their process")
    for job in jobs.values():
        if job.status == FAILED:
            print(f"  failed: {(job.error or {}).get('code')}: {(job.error or {}).get('detail')}")

    succeeded = {job.id for job in jobs.values() if job.status == SUCCEEDED}
    pictures = Counter(image.job_id for image in images)
    lost = {
        "accepted and not there": accepted - set(jobs),
        "succeeded without result": succeeded - results,
        "succeeded without a whole picture": succeeded
        - {image.job_id for image in images if _is_whole(image)},
        "cancelled and went on": {
            job_id for job_id in told.cancelled & set(jobs) if jobs[job_id].status != CANCELLED
        },
    }
    known = {Path(image.file_path) for image in images}
    doubled = {
        "two ids for one key": {key for key, ids in told.ids.items() if len(ids) > 1},
        "a job nobody was told of": set(jobs) - accepted,
        "a result that did not succeed": (results & set(jobs)) - succeeded,
        "succeeded more than once": {
            job_id
            for job_id, times in Counter(
                attempt.job_id for attempt in attempts if attempt.outcome == SUCCEEDED
            ).items()
            if times > 1
        },
        "two attempts at once": {
            one.job_id
            for one, other in pairwise(attempts)
            if one.job_id == other.job_id and (one.ended_at or "~") > other.started_at
        },
        "pictures twice in the database": {j for j, times in pictures.items() if times > 1},
        "pictures that no result has": {str(p) for p in outputs.rglob("*.png") if p not in known},
    }
    held = {
        "neither ended nor going to": {job.id for job in stuck},
        "ended with an open attempt": {a.job_id for a in attempts if a.outcome is None},
    }
    return max(
        _verdict(name, found)
        for name, found in (("LOST", lost), ("DOUBLED", doubled), ("STUCK", held))
    )


def _is_whole(image: ResultImage) -> bool:
    try:
        with Image.open(image.file_path) as picture:
            picture.load()
            return picture.size == (image.width, image.height)
    except OSError:
        return False


def _verdict(name: str, found: dict[str, set[str]]) -> int:
    print(f"{name}: {sum(map(len, found.values()))}")
    for what, which in found.items():
        if which:
            print(f"  {what}: {len(which)}, such as {sorted(which)[:3]}")
    return int(any(found.values()))


if __name__ == "__main__":
    main()

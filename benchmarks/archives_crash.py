"""Kills the server in the middle of imports and restores: is the old state there, or the new one?

    python benchmarks/archives_crash.py [--kills 50] [--seed 1] [--files 24] [--postgres]

The stand-alone server runs as a process of its own. Each time it begins in the same old state, is
asked for an import (then, as often, for a restore) that adds, replaces and changes files and rows,
and is killed (-9) at a moment of it: a third of the moments lie anywhere in the time that it takes
undisturbed, a third after its first staged file, a third after its first moved file, where old and
new lie side by side until the rows are written. Only kills that come while the job runs count
towards `--kills`. Then it is started again. The job that was killed begins anew, unless somebody
had it cancelled (every second one: what was begun has to be taken back). When all is quiet, rows,
files, their hashes and time stamps are compared with the old and the new state. Ends with 0 only if
nothing was between the two and nothing was left lying around.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archives_place import Place
from killable import ROOT, Server, ask, reading
from sqlalchemy import delete, select, update

from lora_manager_core.db.models import Choice, Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.base import ENDED, SUCCEEDED, UNFINISHED
from lora_manager_core.queueing.store import JobWriter

sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

from servers import own_servers  # noqa: E402 - beside ./check, which has no package

from tests.fakes.lora_files import write_lora  # noqa: E402
from tests.libraries import Library, build, plain_library  # noqa: E402
from tests.library_state import State  # noqa: E402

#: What a kill is called that came while the job ran. One too early or too late is looked at as
#: well, but does not count; so many are tried at most, as a multiple of those that are to count.
_HIT = "in it"
_TRIES = 5
#: Runs without a kill that are measured.
_MEASURED = 3
_PATIENCE_S = 120.0
#: A model file has a tensor of this width, which makes it about two megabytes.
_WIDTH = 250_000


@dataclass(frozen=True)
class Deed:
    """What is asked for: a request that starts a job of this kind."""

    kind: str
    path: str
    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True)
class Part:
    """The rest of the work from some moment on, and how long it takes undisturbed."""

    name: str
    is_reached: Callable[[], bool]
    takes_s: float


def main() -> None:
    """Print what was found after each kill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50, help="of imports, and of restores")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=24, help="model files of about 2 MB")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = None
        if args.postgres:
            postgres = stack.enter_context(own_servers()).get("LORA_TEST_POSTGRES_URL")
            if postgres is None:
                sys.exit("PostgreSQL is not installed, or there is no user to run it as.")
        place = Place(folder, postgres)
        stack.callback(place.server.kill)
        chance = random.Random(args.seed)
        kind = "postgresql" if postgres else "sqlite"
        print(f"{kind}, seed {args.seed}, load {os.getloadavg()[0]:.1f}", flush=True)
        theirs = make_archive(place, args.files)
        make_ours(place, args.files)
        status = kill_often(place, import_of(theirs), args.kills, chance)
        backup_id = make_backup_and_change_all(place)
        path = f"/v1/import-export/backups/{backup_id}/restore"
        restore = Deed("archive.restore", path, b'{"background": true}')
        status |= kill_often(place, restore, args.kills, chance)
    sys.exit(status)


def make_archive(place: Place, files: int) -> bytes:
    """The archive to be imported, of a library that is gone afterwards."""
    fill(place, plain_library("theirs", range(files), _WIDTH))
    options = {"generations": True, "user_data": True, "analytics": True}
    with running(place) as server:
        archive = download(server, "/v1/import-export/export", options)
    place.go_back()
    return archive


def make_ours(place: Place, files: int) -> None:
    """The old state: of the files, a third is only theirs, two thirds are other; more are ours."""
    fill(place, plain_library("ours", range(files // 3, files + files // 3), _WIDTH))
    with running(place):
        pass  # its scan asks for the names in prompts
    place.keep()


def fill(place: Place, library: Library) -> None:
    """Put a library into the place, whose server is stopped."""
    database = Database(place.url)
    database.upgrade()
    build(library, database, place.library, place.data / "outputs")
    database.close()


def make_backup_and_change_all(place: Place) -> str:
    """A backup, whose id it gives, and an old state in which nothing is as it was any more."""
    place.go_back()
    with running(place) as server:
        status, answer = ask(server.port, "POST", "/v1/import-export/backup/create", {})
        expect(status == 200, f"the backup was answered with {status}: {answer}")
        for number, record in enumerate(adapters(server)):
            path = Path(record["file_path"])
            if number % 3 == 0:
                ask(server.port, "DELETE", f"/v1/adapters/{record['id']}")
            elif number % 3 == 1:
                path.unlink()
                change(server, record, notes=None, tags=["changed"])
            else:
                write_lora(path, width=_WIDTH, seed=1000 + number)
                change(server, record, favorite=False, trained_words=["changed"])
    database = Database(place.url)
    with database.write() as session:
        session.execute(delete(Job).where(Job.kind == "generation"))
        session.execute(update(Choice).values(value="changed"))
    database.close()
    with running(place):
        pass  # its scan has seen the changes
    place.keep()
    return str(answer["backup_id"])


def import_of(archive: bytes) -> Deed:
    """The import: what is of the same name is replaced, after a backup."""
    boundary = uuid.uuid4().hex
    config = json.dumps({"conflict_resolution": "replace", "background": True})
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="config"\r\n\r\n{config}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.zip"\r\n\r\n'
    )
    body = head.encode() + archive + f"\r\n--{boundary}--\r\n".encode()
    content_type = f"multipart/form-data; boundary={boundary}"
    return Deed("archive.import", "/v1/import-export/import", body, content_type)


def kill_often(place: Place, deed: Deed, kills: int, chance: random.Random) -> int:
    """Do it undisturbed, then killed so often; prints what came of it, gives the exit status."""
    place.go_back()
    old = place.state()
    parts, new = undisturbed(place, deed)
    expect(old.differences(new) != [], f"{deed.kind} changes nothing; nothing can be shown")
    moments, found, left = Counter[str](), Counter[str](), Counter[str]()
    hits = tries = 0
    while hits < kills and tries < _TRIES * kills:
        tries += 1
        part = parts[tries % len(parts)]
        after_s = chance.uniform(0.0, part.takes_s)
        moment, says = kill_once(place, deed, part, after_s, cancelled=hits % 2 == 1)
        hits += moment.startswith(_HIT)
        moments[moment] += 1
        state = place.state()
        from_old, from_new = old.differences(state), new.differences(state)
        if not from_new and says == SUCCEEDED:
            found["new"] += 1
        elif not from_old and says != SUCCEEDED:
            found["old"] += 1
        else:
            found["BETWEEN"] += 1
            print(f"  BETWEEN, killed {moment}; the job says {says}", flush=True)
            for line in (from_new if says == SUCCEEDED else from_old)[:5]:
                print(f"    {line[:300]}")
        for path in place.leftovers():
            left[path] += 1
            print(f"  LEFT, killed {moment}; the job says {says}: {path}", flush=True)
    when = ", ".join(f"{count} {moment}" for moment, count in moments.most_common())
    times = ", ".join(f"{part.takes_s:.3f} s {part.name}" for part in parts)
    print(f"{deed.kind}: undisturbed {times}")
    print(f"  {hits} kills in the middle of it; {tries} in all: {when}")
    print(
        f"  old {found['old']}, new {found['new']}, BETWEEN {found['BETWEEN']}, "
        f"leftovers {sum(left.values())}",
        flush=True,
    )
    return int(found["BETWEEN"] > 0 or bool(left) or hits < kills)


def undisturbed(place: Place, deed: Deed) -> tuple[list[Part], State]:
    """How long it and its parts take, and the new state, which has to be the same each time."""
    marks = {
        "in all": place.is_asked,
        "from the first staged file on": place.stages,
        "from the first moved file on": place.moves,
    }
    times: dict[str, list[float]] = {name: [] for name in marks}
    states: list[State] = []
    for _ in range(_MEASURED):
        place.go_back()
        with running(place) as server:
            client = threading.Thread(target=send, args=(server, deed))
            begun = {"in all": time.monotonic()}
            client.start()
            for name, is_reached in marks.items():
                until(is_reached, f"{deed.kind} does not come so far: {name}")
                begun.setdefault(name, time.monotonic())
            job = wait_for_end(place, deed)
            ended = time.monotonic()
            client.join()
            for name, moment in begun.items():
                times[name].append(ended - moment)
            expect(job.status == SUCCEEDED, f"{deed.kind} ended as {job.status}: {job.error}")
        states.append(place.state())
        differences = states[0].differences(states[-1])
        expect(not differences, f"{deed.kind} gives another state each time: {differences[:3]}")
    parts = [Part(name, marks[name], statistics.median(took)) for name, took in times.items()]
    return parts, states[0]


def kill_once(
    place: Place, deed: Deed, part: Part, after_s: float, cancelled: bool
) -> tuple[str, str | None]:
    """Begin, kill so long after the beginning of that part, start again, wait for quiet.

    Gives in which moment of the job it was killed, and how the job ended (None: there is none).
    """
    place.go_back()
    server = place.server
    server.start()
    server.wait_until_ready()
    wait_until_quiet(place)
    client = threading.Thread(target=send, args=(server, deed))
    client.start()
    until(part.is_reached, f"{deed.kind} does not come so far: {part.name}")
    time.sleep(after_s)
    server.kill()
    client.join()
    job = newest(place, deed)
    if job is None:
        moment = "before there was a job"
    else:
        moment = "after its end" if job.status in ENDED else _HIT
    if cancelled:
        # As if somebody had done it right before.
        database = Database(place.url)
        with database.write() as session:
            store = JobWriter(session)
            for left in store.list_unfinished([deed.kind]):
                store.cancel_pending(left.id) or store.request_cancel(left.id)
        database.close()
        moment += ", cancelled" if moment == _HIT else ""
    place.let_time_pass()
    with running(place):
        pass
    job = newest(place, deed)
    return moment, None if job is None else job.status


@contextmanager
def running(place: Place) -> Iterator[Server]:
    """The server, started and quiet at the beginning, and quiet before it is stopped."""
    place.server.start()
    place.server.wait_until_ready()
    wait_until_quiet(place)
    yield place.server
    wait_until_quiet(place)
    place.server.stop()


def send(server: Server, deed: Deed) -> None:
    """Ask for it; the answer may break off."""
    with suppress(OSError):
        headers = {"Content-Type": deed.content_type}
        status, answer = ask(server.port, "POST", deed.path, deed.body, **headers)
        expect(status in (200, 202), f"{deed.kind} was answered with {status}: {answer}")


def newest(place: Place, deed: Deed) -> Job | None:
    """The last job of this kind."""
    with reading(place.url) as session:
        query = select(Job).where(Job.kind == deed.kind).order_by(Job.created_at.desc())
        return session.scalars(query.limit(1)).first()


def wait_for_end(place: Place, deed: Deed) -> Job:
    """That job once it has ended."""
    return until(
        lambda: job if (job := newest(place, deed)) and job.status in ENDED else None,
        f"{deed.kind} does not end",
    )


def wait_until_quiet(place: Place) -> None:
    """Until no job waits or runs, scans among them."""

    def _is_quiet() -> bool:
        with reading(place.url) as session:
            query = select(Job.id).where(Job.status.in_(UNFINISHED)).limit(1)
            return session.scalar(query) is None

    until(_is_quiet, "jobs do not end")


def until(look: Callable[[], Any], problem: str) -> Any:
    """Look until there is something to see; gives it."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not (seen := look()):
        expect(time.monotonic() < give_up_at, problem)
        time.sleep(0.002)
    return seen


def adapters(server: Server) -> list[dict[str, Any]]:
    """Every record."""
    answer = ask(server.port, "GET", "/v1/adapters?per_page=1000")[1]
    return list(answer["items"])


def change(server: Server, record: dict[str, Any], **fields: Any) -> None:
    """Change a record as a person does."""
    status, answer = ask(server.port, "PATCH", f"/v1/adapters/{record['id']}", fields)
    expect(status == 200, f"a change was answered with {status}: {answer}")


def download(server: Server, path: str, body: Any) -> bytes:
    """What a POST gives, whole."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_PATIENCE_S)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    expect(answer.status == 200, f"{path} was answered with {answer.status}")
    return content


def expect(holds: bool, problem: str) -> None:
    """End the benchmark with what went wrong, unless it holds."""
    if not holds:
        sys.exit(problem)


if __name__ == "__main__":
    main()

"""How fast the hash job is, beside bare hashing with as many threads and beside plain reading.

    python benchmarks/hashing.py [--files 200] [--megabytes 4] [--threads N] [--library DIR]

Prints MB/s of: reading alone; one SHA-256 of each file, as `sha256sum` makes it; both SHA-256 that
the job makes, without a database; and the whole job, its rows stored. All with the same threads,
in turn, several rounds, the median of them. The files lie in the page cache unless `--cold` has
each dropped from it before it is read (Linux).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.hashing.digest import PIECE_BYTES, hash_file
from lora_manager_core.library.hashing.job import HashJob
from lora_manager_core.library.hashing.known import NothingKnown
from lora_manager_core.library.hashing.moved import MovedFiles
from lora_manager_core.library.hashing.workers import default_threads
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.queueing.base import JobContext, JobProgress

ROUNDS = 3


class _Context(JobContext):
    """A job that nobody stops."""

    job_id = "benchmark"

    def __init__(self) -> None:
        self.payload = {}

    def report(self, progress: JobProgress) -> None:
        pass

    def is_cancelled(self) -> bool:
        return False


class _FreeTurns:
    """Nobody makes pictures."""

    def device(self, needed_bytes: int) -> str:
        return "cpu"

    @contextmanager
    def turn(self, device: str, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=4, help="size of each file made")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--library", type=Path, help="hash these files instead of made ones")
    parser.add_argument("--cold", action="store_true", help="drop files from the page cache")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = args.library or _made(Path(folder) / "loras", args.files, args.megabytes)
        paths = sorted(library.rglob("*.safetensors"))
        _measure(paths, library, Path(folder), args.threads, args.cold)


def _measure(paths: Sequence[Path], library: Path, folder: Path, threads: int, cold: bool) -> None:
    size = sum(path.stat().st_size for path in paths)
    ways: dict[str, Callable[[], None]] = {
        "reading alone": lambda: _each(paths, threads, _read),
        "one SHA-256 of each": lambda: _each(paths, threads, _sha256),
        "both SHA-256 of each": lambda: _each(paths, threads, _both),
    }
    database = Database(f"sqlite:///{(folder / 'benchmark.sqlite3').as_posix()}")
    database.upgrade()
    LibraryScan(database, lambda: [library], lambda _files: {}).run(_Context())
    job = HashJob(
        database, _FreeTurns(), NothingKnown(), MovedFiles(database, lambda: [library]), threads
    )
    ways["the hash job"] = lambda: _run(database, job)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            if cold:
                _drop(paths)
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    database.close()
    where = "from the disk" if cold else "in the page cache"
    print(f"{len(paths)} files, {size / 1e6:.0f} MB, {where}, {threads} threads")
    bare = statistics.median(seconds["both SHA-256 of each"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(
            f"{name:22} {size / median / 1e6:7.0f} MB/s {len(paths) / median:7.0f} files/s"
            f"  {median / bare:5.2f} × both SHA-256"
        )


def _made(folder: Path, files: int, megabytes: float) -> Path:
    folder.mkdir()
    size = round(megabytes * 1e6)
    for number in range(files):
        header = f'{{"w":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}'.encode()
        content = len(header).to_bytes(8, "little") + header + os.urandom(size)
        (folder / f"file{number}.safetensors").write_bytes(content)
    return folder


def _each(paths: Sequence[Path], threads: int, one: Callable[[Path], None]) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, paths))


def _pieces(path: Path) -> Iterator[memoryview]:
    piece = memoryview(bytearray(PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(piece):
            yield piece[:count]


def _read(path: Path) -> None:
    for _ in _pieces(path):
        pass


def _sha256(path: Path) -> None:
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    digest.hexdigest()


def _both(path: Path) -> None:
    status = path.stat()
    hash_file(path, status.st_size, status.st_mtime_ns)


def _run(database: Database, job: HashJob) -> None:
    with database.write() as session:
        session.query(Adapter).update({"file_sha256_state": "pending"})
    report = job.run(_Context())
    assert report["failed"] == report["changed"] == 0, report


def _drop(paths: Sequence[Path]) -> None:
    os.sync()
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()

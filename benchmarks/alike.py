"""Duplicates, files of one name and versions over HTTP, beside the plain SQL of the same question.

    python benchmarks/alike.py [--rows 10000 --rows 100000]

The first figure of each is the first answer after a change of the catalogue, the second one of
those that follow until the next change. The catalogue has no files, and rows as a scan writes them.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headers import DEFAULT_GENERATOR
from library import Server
from library_rows import fill

_FIRST = 9
_REPEATS = 60
_BARE = (
    "SELECT primary_file_sha256, count(*), max(file_size) FROM adapters WHERE primary_file_sha256 "
    "IN (SELECT primary_file_sha256 FROM adapters WHERE primary_file_sha256 IS NOT NULL GROUP BY 1 "
    "HAVING count(*) > 1) GROUP BY 1"
)
_WAYS = ("duplicates", "duplicates?per_page=100", "conflicts", "versions?evidence=name")


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, action="append", help="records (repeatable)")
    parser.add_argument("--generator", type=Path, default=DEFAULT_GENERATOR)
    args = parser.parse_args()
    for count in args.rows or [10_000, 100_000]:
        _measure(count, args.generator)


def _measure(count: int, generator_file: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        fill(Path(data), count, generator_file)
        database = sqlite3.connect(Path(data) / "lora-manager.sqlite3")
        bare = _median(lambda: database.execute(_BARE).fetchall(), _FIRST)
        groups = len(database.execute(_BARE).fetchall())
        print(
            f"\n{count} records, {groups} groups of equal files, {os.cpu_count()} cores, load "
            f"{os.getloadavg()[0]:.1f}; plain SQL for duplicates {1000 * bare:.2f} ms"
        )
        with Server(data) as server:
            client = server.client()
            changed = client.get("/v1/adapters?per_page=1")["items"][0]["id"]
            for way in _WAYS:
                path = f"/v1/library/{way}"
                after = []
                for rating in range(_FIRST):
                    client.patch(f"/v1/adapters/{changed}", {"rating": rating % 5 + 1})
                    after.append(_timed(lambda path=path: client.get(path)))
                again = _median(lambda path=path: client.get(path), _REPEATS)
                total = client.get(path)["total"]
                first = statistics.median(after)
                print(
                    f"{way:28} first {1000 * first:8.2f} ms, then {1000 * again:6.2f} ms; {total}"
                )
        database.close()


def _median(work: Callable[[], object], times: int) -> float:
    work()
    return statistics.median(_timed(work) for _ in range(times))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

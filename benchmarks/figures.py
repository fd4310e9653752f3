"""Every figure of scan, list, search, edit, duplicates and memory, with its goal, in one command.

    python benchmarks/figures.py [--count 1000 --count 10000 --count 100000]

For each size a library is generated, `library.py` measures it, and what it does not measure is
added here: duplicates once all files are hashed, memory of an idle server that was started on a
finished catalogue, and how many base models are named. Behind each row that has a goal stand the
goal and whether it was reached; goals at 1,000 are those at 10,000. 100,000 files need some 3 GB in
the folder for temporary files (`--payload` is the size of their weights) and half an hour.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from headers import DEFAULT_GENERATOR, generator
from library import Client, Server

from lora_manager_core.common.base_labels import narrower, normalise_label

_LARGE = 100_000
_REPEATS = 60
#: A server is idle when it has done nothing for so long.
_IDLE_S = 5.0
_HASHED_WITHIN_S = 1800.0


@dataclass(frozen=True)
class Goal:
    """The most (or, with `at_least`, the least) of a figure at up to 10,000 and at 100,000.

    Durations are in seconds.
    """

    usual: float
    large: float
    at_least: bool = False

    def at(self, count: int) -> float:
        """The goal for a library of that many files."""
        return self.large if count >= _LARGE else self.usual

    def reached(self, value: float, count: int) -> bool:
        """Whether a measured value meets it."""
        return value >= self.at(count) if self.at_least else value <= self.at(count)


#: Beginnings of the titles of rows, and their goals; the longest beginning counts.
GOALS = {
    "first scan to everything listed": Goal(3.0, 30.0),
    "longest reply while scanning": Goal(0.05, 0.05),
    "rescan, nothing changed": Goal(0.15, 1.5),
    "warm start to list served": Goal(0.8, 0.8),
    "files written into the library": Goal(0, 0),
    "list, page of 24": Goal(0.0025, 0.003),
    "list, page of 100": Goal(0.0055, 0.006),
    "list, last page": Goal(0.003, 0.006),
    "list, by": Goal(0.003, 0.006),
    "search, rare": Goal(0.003, 0.004),
    "search, one in": Goal(0.005, 0.010),
    "filter by": Goal(0.004, 0.008),
    "edit one record": Goal(0.005, 0.005),
    "compose, 20 active": Goal(0.0025, 0.0025),
    "8 clients on the list": Goal(380, 350, at_least=True),
    "duplicates": Goal(0.005, 0.020),
    "resident memory, idle": Goal(120, 250),
    "base model named": Goal(99, 99, at_least=True),
}
_NO_GOAL = re.compile("first after an edit")
_ROW = re.compile(r"^(?P<title>\S.*?)(?::\s*|\s{2,})(?P<value>[\d.]+)(?P<unit> ms| s|)(?=\s|$)")


def main() -> None:
    """Measure each size and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, action="append", help="files (repeatable)")
    parser.add_argument("--generator", type=Path, default=DEFAULT_GENERATOR)
    parser.add_argument("--payload", type=int, default=4096, help="bytes of weights of each file")
    args = parser.parse_args()
    made = generator(args.generator)
    missed = []
    for count in args.count or (1000, 10_000, _LARGE):
        with tempfile.TemporaryDirectory() as folder:
            truth = made.generate(folder, count, args.payload, 7)
            for line in _lines(Path(folder), truth, made):
                text, reached = judged(line, count)
                print(text, flush=True)
                if reached is False:
                    missed.append(f"{count}: {line.split('  ')[0]}")
    print(f"\n{len(missed)} goals missed" + "".join(f"\n  {title}" for title in missed))


def judged(line: str, count: int) -> tuple[str, bool | None]:
    """The line with goal and verdict behind it; None where it has no goal."""
    row = _ROW.match(line)
    goal = None if row is None or _NO_GOAL.search(line) else _goal_of(row["title"])
    if row is None or goal is None:
        return line, None
    value = float(row["value"]) / (1000 if row["unit"] == " ms" else 1)
    reached = goal.reached(value, count)
    sign = "≥" if goal.at_least else "≤"
    unit, most = row["unit"], goal.at(count)
    text = f"{most * 1000:g} ms" if unit and most < 1 else f"{most:g}{' s' if unit else ''}"
    return f"{line:70}{sign} {text:12}{'reached' if reached else 'MISSED'}", reached


def _goal_of(title: str) -> Goal | None:
    known = [beginning for beginning in GOALS if title.startswith(beginning)]
    return GOALS[max(known, key=len)] if known else None


def _lines(library: Path, truth: Mapping[str, Any], made: Any) -> Iterator[str]:
    script = Path(__file__).with_name("library.py")
    command = [sys.executable, str(script), "--library", str(library)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip("\n")
    if process.returncode:
        sys.exit(f"{script.name} failed")
    with tempfile.TemporaryDirectory() as data:
        yield from _further(Path(data), library, truth, made)


def _further(data: Path, library: Path, truth: Mapping[str, Any], made: Any) -> Iterator[str]:
    """What needs hashes, or a server that rests."""
    with Server(str(data), library) as server:
        server.wait_for_scan(truth["count"])
        client = server.client()
        yield _row("base model named, %", f"{_share_named(client, library, truth, made):.2f}")
        _wait_until_hashed(client)
        groups = client.get("/v1/library/duplicates")["total"]
        database = sqlite3.connect(data / "lora-manager.sqlite3")
        bare = (
            "SELECT * FROM adapters WHERE primary_file_sha256 IN (SELECT primary_file_sha256 FROM "
            "adapters WHERE primary_file_sha256 IS NOT NULL GROUP BY 1 HAVING count(*) > 1)"
        )
        ours = _median_ms(lambda: client.get("/v1/library/duplicates"))
        plain = _median_ms(lambda: database.execute(bare).fetchall())
        database.close()
        title = f"duplicates ({groups} of {len(truth['duplicate_groups'])} groups)"
        yield _row(title, f"{ours:.2f} ms", f"{plain:.2f} ms")
    with Server(str(data), library) as server:
        time.sleep(_IDLE_S)
        yield _row("resident memory, idle, MB", f"{server.memory_mib() * 1.048576:.0f}")


def _share_named(client: Client, library: Path, truth: Mapping[str, Any], made: Any) -> float:
    """Percent of all files but the copies, which lie where they do not belong, named rightly.

    A label that says less than the manifest and does not contradict it is right.
    """
    labels = {base[3]: normalise_label(base[0]) for base in made.BASES}
    copies = {name for group in truth["duplicate_groups"].values() for name in group[1:]}
    right = counted = 0
    for record in _records(client):
        relative = Path(record["file_path"]).relative_to(library.resolve())
        if str(relative) not in copies:
            counted += 1
            expected = labels[relative.parts[0]]
            found = record["base_model"]
            right += bool(found and expected and narrower(found, expected) == expected)
    return 100 * right / counted


def _records(client: Client) -> Iterator[dict[str, Any]]:
    number = 1
    while items := client.get(f"/v1/adapters?per_page=1000&page={number}")["items"]:
        yield from items
        number += 1


def _wait_until_hashed(client: Client) -> None:
    deadline = time.monotonic() + _HASHED_WITHIN_S
    client.post("/v1/library/hash")
    while client.get("/v1/library")["hashing"]["pending"]:
        if time.monotonic() > deadline:
            sys.exit(f"not all files were hashed within {_HASHED_WITHIN_S:.0f} s")
        time.sleep(0.1)


def _median_ms(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def _row(title: str, ours: str, bare: str = "—") -> str:
    return f"{title:44}{ours:>12}{bare:>12}"


if __name__ == "__main__":
    main()

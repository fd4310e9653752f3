"""The first rows of the figures: scan, list, search, edit and compose, beside their bare costs.

    python benchmarks/library.py [--count 1000 --count 10000] [--library DIR]
    python benchmarks/library.py --rows 100000

A library is generated (or taken), the stand-alone server is started as a process of its own on a
free loopback port, and one keep-alive client asks it; figures are medians unless a row says
otherwise. The bare cost is the same work without us: the plain file reads, the plain SQL. With
`--rows` the catalogue is written into the database without any file, for the rows of lists alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import orjson
import psutil
from headers import DEFAULT_GENERATOR, generator
from library_rows import fill

_REPEATS = 60
_CLIENTS = 8
_CLIENT_SECONDS = 4.0


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, action="append", help="adapters (repeatable)")
    parser.add_argument("--library", type=Path, help="an existing library, not a generated one")
    parser.add_argument("--rows", type=int, action="append", help="records without files")
    parser.add_argument("--generator", type=Path, default=DEFAULT_GENERATOR)
    parser.add_argument("--payload", type=int, default=65_536, help="tensor bytes per file, about")
    args = parser.parse_args()
    if args.library is not None:
        measure(args.library)
        return
    for count in args.rows or ():
        measure_rows(count, args.generator)
    for count in args.count or ([] if args.rows else [1000, 10_000]):
        with tempfile.TemporaryDirectory() as folder:
            generator(args.generator).generate(folder, count, args.payload, 7)
            measure(Path(folder))


def measure(library: Path) -> None:
    """Print every row for one library."""
    with tempfile.TemporaryDirectory() as data:
        files = sum(1 for _ in library.rglob("*.safetensors"))
        print(f"\n{files} adapters, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'figure':44}{'ours':>12}{'bare':>12}")
        before = _listing(library)
        _row("reading all headers (bare)", None, _timed(lambda: _read_headers(library)))
        with Server(data, library) as server:
            scan = server.wait_for_scan(files)
            _row("first scan to everything listed", scan, _timed(lambda: _walk(library)))
            _row("longest reply while scanning", server.longest_reply_s, None)
            rescans = [server.rescan() for _ in range(3)]
            _row("rescan, nothing changed", statistics.median(rescans), None)
            _requests(server, Path(data))
            _row("resident memory, MiB", server.memory_mib(), None, unit="")
        print(f"files written into the library: {len(_listing(library) ^ before)}")
        with Server(data, library) as server:
            _row("warm start to list served", server.first_reply_s, None)


def measure_rows(count: int, generator_file: Path) -> None:
    """Print the rows of lists for that many records, whose files nobody reads."""
    with tempfile.TemporaryDirectory() as data:
        fill(Path(data), count, generator_file)
        print(f"\n{count} records, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'figure':44}{'ours':>12}{'bare':>12}")
        with Server(data) as server:
            _row("warm start to list served", server.first_reply_s, None)
            _requests(server, Path(data))
            _row("resident memory, MiB", server.memory_mib(), None, unit="")


def _requests(server: Server, data: Path) -> None:
    client = server.client()
    total = client.get("/v1/adapters?per_page=1")["total"]
    sample = client.get("/v1/adapters?per_page=1000&sort=random&seed=3")["items"]
    tag = next(record["tags"][0] for record in sample if record["tags"])
    rare = sample[0]["name"]
    common = _common_word(client, total)
    database = sqlite3.connect(data / "lora-manager.sqlite3")
    database.execute("PRAGMA mmap_size=268435456")

    def _sql(query: str, *values: object) -> Callable[[], object]:
        return lambda: database.execute(query, values).fetchall()

    page = "SELECT * FROM adapters ORDER BY name_key, pk LIMIT ? OFFSET ?"
    match = "SELECT rowid FROM adapters_fts WHERE adapters_fts MATCH ?"
    found = f"SELECT * FROM adapters WHERE pk IN ({match}) ORDER BY name_key, pk LIMIT 24"
    tagged = (
        "SELECT * FROM adapters WHERE pk IN (SELECT adapter_pk FROM adapter_tags "
        "WHERE tag_key = ?) ORDER BY name_key, pk LIMIT 24"
    )
    newest = tagged.replace("name_key, pk", "created_at DESC, name_key")
    key = tag.casefold()
    base = "SELECT * FROM adapters WHERE base_model = ? ORDER BY name_key, pk LIMIT 24"
    last = max(1, -(-total // 24))
    rows: Sequence[tuple[str, str, Callable[[], object]]] = (
        ("list, page of 24", "", _sql(page, 24, 0)),
        ("list, page of 100", "?per_page=100", _sql(page, 100, 0)),
        ("list, last page", f"?page={last}", _sql(page, 24, (last - 1) * 24)),
        *(
            (
                f"list, by {key}",
                f"?sort={key}",
                _sql(f"SELECT * FROM adapters ORDER BY {order} DESC, name_key LIMIT 24"),
            )
            for key, order in (("created_at", "created_at"), ("rating", "coalesce(rating, 0)"))
        ),
        ("search, rare", f"?search={quote(rare)}", _sql(found, f'"{rare.casefold()}"')),
        (f"search, one in {common[1]}", f"?search={common[0]}", _sql(found, f'"{common[0]}"')),
        ("filter by tag", f"?tags={quote(tag)}", _sql(tagged, key)),
        ("filter by base model", "?base_model=SDXL", _sql(base, "SDXL")),
        ("filter by tag, by date", f"?tags={quote(tag)}&sort=created_at", _sql(newest, key)),
    )
    for title, query, bare in rows:
        url = f"/v1/adapters{query}"
        _row(title, _median(lambda url=url: client.get(url)), _median(bare))
    edited = sample[0]["id"]
    update = "UPDATE adapters SET notes = ? WHERE id = ?"

    def _bare_edit() -> None:
        with database:
            database.execute(update, (str(time.perf_counter()), edited))

    _row(
        "edit one record",
        _median(lambda: client.patch(f"/v1/adapters/{edited}", {"notes": str(time.time())})),
        _median(_bare_edit),
    )
    _after_edits(client, edited, (common[0], tag))
    for number, record in enumerate(sample[:20]):
        client.post(f"/v1/adapters/{record['id']}/activate?ordinal={number}")
    active = "SELECT * FROM adapters WHERE active ORDER BY ordinal"
    _row(
        "compose, 20 active", _median(lambda: client.post("/v1/compose", {})), _median(_sql(active))
    )
    _row("no work at all: /v1/health", _median(lambda: client.get("/v1/health")), None)
    _row(f"{_CLIENTS} clients on the list, requests/s", _throughput(server), None, unit="")


def _after_edits(client: Client, edited: str, wanted: tuple[str, str]) -> None:
    """What the first request after a change costs, which counts again."""
    word, tag = (quote(text) for text in wanted)
    for title, path in (
        ("list, first after an edit", ""),
        ("search as above, first after an edit", f"?search={word}"),
        ("filter by tag, first after an edit", f"?tags={tag}"),
        ("facets, first after an edit", "/facets"),
        ("facets of a search, first after an edit", f"/facets?search={word}"),
    ):
        times = []
        for number in range(_REPEATS // 6):
            client.patch(f"/v1/adapters/{edited}", {"notes": str(number)})
            times.append(_timed(lambda path=path: client.get(f"/v1/adapters{path}")))
        _row(title, statistics.median(times), None)
    _row("facets, again", _median(lambda: client.get("/v1/adapters/facets")), None)


def _common_word(client: Client, total: int) -> tuple[str, int]:
    """A word that about one record in five has, and in how many of them it is."""
    best, distance = ("style", 5), 1e9
    for word in ("style", "character", "anime", "creator01", "ember", "steel", "solo", "night"):
        filtered = client.get(f"/v1/adapters?per_page=1&search={word}")["filtered"]
        if filtered and abs(total / filtered - 5) < distance:
            distance, best = abs(total / filtered - 5), (word, round(total / filtered))
    return best


class Client:
    """One keep-alive connection; answers are read and parsed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, path: str) -> dict:
        """GET and parse."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object = None) -> dict:
        """POST and parse."""
        return self._ask("POST", path, body)

    def patch(self, path: str, body: object) -> dict:
        """PATCH and parse."""
        return self._ask("PATCH", path, body)

    def delete(self, path: str) -> None:
        """DELETE; there is nothing to parse."""
        self._ask("DELETE", path, None)

    def _ask(self, method: str, path: str, body: object) -> dict:
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        raw = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {raw[:300]!r}")
        return orjson.loads(raw) if raw else {}


class Server:
    """`lora-manager serve` as a process of its own, which does only what it is asked to."""

    def __init__(self, data: str, library: Path | None = None) -> None:
        self._command = [sys.executable, "-m", "lora_manager_core.cli", "serve", "--data-dir", data]
        self._command += [] if library is None else ["--library", str(library)]
        self.longest_reply_s = 0.0
        self.first_reply_s = 0.0
        self.port = 0

    def __enter__(self) -> Server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            env={
                **os.environ,
                "LORA_MANAGER_AUTO_EMBED": "false",
                "LORA_MANAGER_AUTO_HASH": "false",
            },
            cwd=Path(__file__).parents[1],
        )
        while True:
            try:
                self.client().get("/v1/adapters")
                break
            except OSError:
                time.sleep(0.005)
        self.first_reply_s = time.perf_counter() - self._started
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def client(self) -> Client:
        """A new connection."""
        return Client(self.port)

    def wait_for_scan(self, files: int) -> float:
        """Seconds the scan at start took; meanwhile another client asks for pages all the time."""
        client = self.client()
        while True:
            started = time.perf_counter()
            page = client.get("/v1/adapters")
            self.longest_reply_s = max(self.longest_reply_s, time.perf_counter() - started)
            if page["total"] >= files:
                overview = client.get("/v1/library")
                if overview["last_scan"]:
                    return float(overview["last_scan"]["duration_s"])
            time.sleep(0.005)

    def rescan(self) -> float:
        """Seconds of one more scan."""
        client = self.client()
        before = client.get("/v1/library")["last_scan"]["finished_at"]
        client.post("/v1/library/scan")
        while (last := client.get("/v1/library")["last_scan"])["finished_at"] == before:
            time.sleep(0.02)
        return float(last["duration_s"])

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def memory_mib(self) -> float:
        """Resident memory of the process."""
        return psutil.Process(self.pid).memory_info().rss / 2**20


def _throughput(server: Server) -> float:
    """Requests a second of several clients on the first page, for a few seconds."""
    counts = [0] * _CLIENTS
    end = time.perf_counter() + _CLIENT_SECONDS

    def _ask(number: int) -> None:
        client = server.client()
        while time.perf_counter() < end:
            client.get("/v1/adapters")
            counts[number] += 1

    threads = [threading.Thread(target=_ask, args=(number,)) for number in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / _CLIENT_SECONDS


def _read_headers(library: Path) -> None:
    for path in _models(library):
        with open(path, "rb") as file:  # noqa: PTH123 - the bare cost
            orjson.loads(file.read(int.from_bytes(file.read(8), "little")))


def _walk(library: Path) -> None:
    for path in _models(library):
        os.stat(path)  # noqa: PTH116 - the bare cost


def _models(library: Path) -> Iterator[str]:
    for folder, _, names in os.walk(library):
        for name in names:
            if name.endswith(".safetensors"):
                yield os.path.join(folder, name)  # noqa: PTH118 - the bare cost


def _listing(library: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in library.rglob("*")}


def _median(work: Callable[[], object]) -> float:
    work()
    return statistics.median(_timed(work) for _ in range(_REPEATS))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(title: str, ours: float | None, bare: float | None, unit: str = "s") -> None:
    print(f"{title:44}{_text(ours, unit):>12}{_text(bare, unit):>12}", flush=True)


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return "—"
    if not unit:
        return f"{value:.0f}"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"


if __name__ == "__main__":
    main()

"""The export rows of the figures: estimate, first byte, throughput, memory, others meanwhile.

    python benchmarks/archives.py [--count 10000 ...] [--large-mb 1000] [--repeats 5] [--encrypted]

The stand-alone server runs as a process of its own on a free loopback port; exports are taken over
HTTP and thrown away, or made as jobs onto the disk. Beside them stands a plain copy of the same
files on the same disk (`shutil.copyfile`), in turn with them, so that ratios are of one run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from headers import DEFAULT_GENERATOR, generator
from library import Client, Server

_ESTIMATES = 60
_FIRST_BYTES = 20
_LARGE_FILES = 8
_MEBIBYTE = 2**20
_LOOK_S = 0.01
#: At least so long other requests are measured beside exports.
_BESIDE_S = 8.0


def main() -> None:
    """Measure a library of few large files, then those of many small ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, action="append", help="adapters (repeatable)")
    parser.add_argument("--large-mb", type=int, default=1000, help="0: none")
    parser.add_argument("--payload", type=int, default=65_536, help="tensor bytes per small file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--generator", type=Path, default=DEFAULT_GENERATOR)
    parser.add_argument("--folder", type=Path, help="where everything is made; default: temporary")
    parser.add_argument("--encrypted", action="store_true", help="AES also of the small files")
    args = parser.parse_args()
    if args.large_mb:
        with _folder(args) as folder:
            _make_large(folder / "library", args.large_mb * 10**6)
            measure(folder, args.repeats, encrypted=True)
    for count in args.count or [10_000]:
        with _folder(args) as folder:
            generator(args.generator).generate(str(folder / "library"), count, args.payload, 7)
            measure(folder, args.repeats, encrypted=args.encrypted)


def measure(folder: Path, repeats: int, encrypted: bool) -> None:
    """Print every row for the library in a folder."""
    library = folder / "library"
    files = [path for path in library.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    models = sum(path.suffix == ".safetensors" for path in files)
    print(
        f"\n{models} adapters, {len(files)} files, {size / 1e6:.0f} MB, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    with Server(str(folder / "data"), library) as server:
        server.wait_for_scan(models)
        client = server.client()
        wanted = client.get("/v1/adapters?per_page=1")["items"][0]["id"]
        _row("estimate, p50", _ms(_times(lambda: _estimate(client), _ESTIMATES)))
        _row(
            "estimate right after a change, p50",
            _ms(_times(lambda: _estimate(client), 20, lambda: _edit(client, wanted))),
        )
        _row("first byte of export, p50", _ms(_first_bytes(server)))
        told = _estimate(client)["size_bytes"]
        process = psutil.Process(server.pid)
        copies, synced, streams, jobs, sizes = [], [], [], [], []
        with _Memory(process) as memory:
            for _ in range(repeats):
                copies.append(_copy(files, folder / "copy"))
                took, taken = _stream(server, {})
                streams.append(took)
                sizes.append(taken)
            streamed = memory.added()
        with _Memory(process) as memory:
            for _ in range(repeats):
                synced.append(_copy(files, folder / "copy", synced=True))
                jobs.append(_job(server.client()))
            made = memory.added()
        copy = size / statistics.median(copies) / 1e6
        _row("plain copy of the files", f"{copy:.0f} MB/s")
        speed = size / statistics.median(streams) / 1e6
        _row("export, streamed over loopback", f"{speed:.0f} MB/s", f"{speed / copy:.2f} × copy")
        copy_synced = size / statistics.median(synced) / 1e6
        _row("plain copy, on the disk for good", f"{copy_synced:.0f} MB/s")
        speed = size / statistics.median(jobs) / 1e6
        _row(
            "export as a job, on the disk for good",
            f"{speed:.0f} MB/s",
            f"{speed / copy_synced:.2f} × that copy",
        )
        _row("estimated size beside the true one", f"{told / statistics.median(sizes):.3f} ×")
        for title, (anonymous, resident) in (("streaming", streamed), ("job", made)):
            _row(
                f"memory added by {title}, at most",
                f"{anonymous:.1f} MiB",
                f"{resident:.1f} MiB with mapped files",
            )
        alone, beside = _beside(server)
        _row("GET /v1/adapters, p99, alone", _ms([_p99(alone)]))
        _row("GET /v1/adapters, p99, during an export", _ms([_p99(beside)]), f"n = {len(beside)}")
        if encrypted:
            took, _ = _stream(server, {"encrypt": True, "password": "a password"})
            speed = size / took / 1e6
            _row("export encrypted (AES-256)", f"{speed:.0f} MB/s", f"{speed / copy:.2f} × copy")


def _estimate(client: Client) -> dict:
    return client.post("/v1/import-export/export/estimate", {})


def _edit(client: Client, adapter_id: str) -> None:
    client.patch(f"/v1/adapters/{adapter_id}", {"notes": str(time.time())})


def _first_bytes(server: Server) -> list[float]:
    times = []
    for _ in range(_FIRST_BYTES):
        with _export(server, {}) as (started, answer):
            answer.read1(1)
            times.append(time.perf_counter() - started)
        time.sleep(0.1)  # what was given up ends meanwhile
    return times


def _stream(server: Server, request: dict) -> tuple[float, int]:
    """Seconds and bytes of one export."""
    buffer, taken = memoryview(bytearray(_MEBIBYTE)), 0
    with _export(server, request) as (started, answer):
        while read := answer.readinto(buffer):
            taken += read
        return time.perf_counter() - started, taken


@contextmanager
def _export(server: Server, request: dict) -> Iterator[tuple[float, http.client.HTTPResponse]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    headers = {"Content-Type": "application/json"}
    started = time.perf_counter()
    connection.request("POST", "/v1/import-export/export", json.dumps(request), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"the export failed: {answer.status} {answer.read()[:300]!r}")
    try:
        yield started, answer
    finally:
        connection.close()


def _job(client: Client) -> float:
    """Seconds from asking for an export as a job to its file; the file is deleted again."""
    started = time.perf_counter()
    job_id = client.post("/v1/import-export/export", {"background": True})["job_id"]
    while (job := client.get(f"/v1/import-export/jobs/{job_id}"))["finished_at"] is None:
        time.sleep(_LOOK_S)
    took = time.perf_counter() - started
    if job["status"] != "succeeded":
        sys.exit(f"the export failed: {job['error']}")
    client.delete(f"/v1/import-export/exports/{job_id}")
    return took


def _copy(files: list[Path], folder: Path, synced: bool = False) -> float:
    """Seconds of the plain copy: every file, one after the other, into one folder.

    With `synced` until the disk has it, which a job waits for as well.
    """
    folder.mkdir()
    started = time.perf_counter()
    for number, path in enumerate(files):
        shutil.copyfile(path, folder / str(number))
    if synced:
        os.sync()
    took = time.perf_counter() - started
    shutil.rmtree(folder)
    return took


def _beside(server: Server) -> tuple[list[float], list[float]]:
    """Times of another client's requests, alone and while exports are taken."""
    client = server.client()
    alone = _times(lambda: client.get("/v1/adapters"), 300)
    beside: list[float] = []
    done = threading.Event()

    def _ask() -> None:
        own = server.client()
        while not done.is_set():
            beside.append(_timed(lambda: own.get("/v1/adapters")))

    thread = threading.Thread(target=_ask)
    thread.start()
    end = time.perf_counter() + _BESIDE_S
    while time.perf_counter() < end:
        _stream(server, {})
    done.set()
    thread.join()
    return alone, beside


class _Memory:
    """How much the server's memory rises above what it was: its own, and with mapped files."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Memory:
        self._before = self._most = self._now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def added(self) -> tuple[float, float]:
        """In MiB."""
        own, mapped = (m - b for m, b in zip(self._most, self._before, strict=True))
        return own / _MEBIBYTE, mapped / _MEBIBYTE

    def _watch(self) -> None:
        while not self._done.wait(_LOOK_S):
            self._most = tuple(map(max, self._most, self._now()))  # type: ignore[assignment]

    def _now(self) -> tuple[int, int]:
        memory = self._process.memory_info()
        return memory.rss - getattr(memory, "shared", 0), memory.rss


def _times(
    work: Callable[[], object], count: int, before: Callable[[], object] = lambda: None
) -> list[float]:
    times = []
    for _ in range(count):
        before()
        times.append(_timed(work))
    return times


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:.1f} ms"


def _row(title: str, ours: str, more: str = "") -> None:
    print(f"{title:44}{ours:>14}   {more}", flush=True)


@contextmanager
def _folder(args: argparse.Namespace) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        (Path(folder) / "library").mkdir()
        yield Path(folder)


def _make_large(folder: Path, size: int) -> None:
    """A few model files that are all payload."""
    numbers = size // _LARGE_FILES // 2
    for file in range(_LARGE_FILES):
        tensor = {"dtype": "F16", "shape": [numbers], "data_offsets": [0, numbers * 2]}
        header = json.dumps({"lora_unet_mid_block.lora_down.weight": tensor}).encode()
        with (folder / f"large{file}.safetensors").open("wb") as target:
            target.write(len(header).to_bytes(8, "little") + header)
            for start in range(0, numbers * 2, _MEBIBYTE):
                target.write(os.urandom(min(_MEBIBYTE, numbers * 2 - start)))


if __name__ == "__main__":
    main()

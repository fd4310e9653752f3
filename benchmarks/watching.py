"""What becomes of many files that are copied into a watched library while somebody looks at it.

    python benchmarks/watching.py [--count 10000] [--payload 4096] [--library DIR]

A library is generated (or taken) and copied by a process of its own into the empty folder of a
running server, while one keep-alive client asks for the first page without a pause. The bare cost
is the same client during the same copying into a folder that nobody watches.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from headers import DEFAULT_GENERATOR, generator
from library import Server

_GIVE_UP_S = 600.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--payload", type=int, default=4096, help="tensor bytes per file, about")
    parser.add_argument("--library", type=Path, help="an existing library, not a generated one")
    parser.add_argument("--generator", type=Path, default=DEFAULT_GENERATOR)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = args.library or Path(folder) / "source"
        if args.library is None:
            generator(args.generator).generate(str(source), args.count, args.payload, 7)
        measure(source, Path(folder))


def measure(source: Path, folder: Path) -> None:
    """Print the figures of one library; `folder` is for the copies."""
    files = sum(1 for _ in source.rglob("*.safetensors"))
    print(f"\n{files} adapters, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"{'list, first page, meanwhile':34}{'p50':>10}{'p99':>10}{'longest':>10}{'requests':>10}"
    )
    watched = folder / "watched"
    watched.mkdir()
    with tempfile.TemporaryDirectory() as data, Server(data, watched) as server:
        _wait_until_watching(server)
        client = _Looker(server)
        copied_s, copied_at = _copy(source, folder / "elsewhere")
        client.end("copied elsewhere (bare)")
        shutil.rmtree(folder / "elsewhere")
        before_mib = server.memory_mib()
        client = _Looker(server)
        copied_s, copied_at = _copy(source, watched)
        total = _wait_until_listed(server, files)
        listed_s = time.perf_counter() - copied_at
        client.end("copied into the library")
        print(f"copying took                      {copied_s:10.2f} s")
        print(f"last one listed, after its copy   {listed_s:10.2f} s")
        print(f"not listed                        {files - total:10d}")
        print(f"memory, before and after          {before_mib:10.0f} {server.memory_mib():.0f} MiB")


class _Looker:
    """Asks for the first page all the time, from its making to `end`."""

    def __init__(self, server: Server) -> None:
        self._client = server.client()
        self._times: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self, title: str) -> None:
        """Stop, and print how long it had to wait."""
        self._ended.set()
        self._thread.join()
        ranked = sorted(self._times)
        p50, p99 = statistics.median(ranked), ranked[int(len(ranked) * 0.99)]
        shown = "".join(f"{value * 1000:8.1f}ms" for value in (p50, p99, ranked[-1]))
        print(f"{title:34}{shown}{len(ranked):10d}", flush=True)

    def _look(self) -> None:
        while not self._ended.is_set():
            started = time.perf_counter()
            self._client.get("/v1/adapters")
            self._times.append(time.perf_counter() - started)


def _copy(source: Path, target: Path) -> tuple[float, float]:
    """Copy in a process of its own; how long it took, and when it ended."""
    program = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, str(source), str(target)], check=True)
    ended = time.perf_counter()
    return ended - started, ended


def _wait_until_watching(server: Server) -> None:
    client = server.client()
    while not client.get("/v1/library")["watching"]["active"]:
        time.sleep(0.05)


def _wait_until_listed(server: Server, files: int) -> int:
    """Until all are listed, or nothing waits any more; how many are."""
    client = server.client()
    give_up_at = time.perf_counter() + _GIVE_UP_S
    while time.perf_counter() < give_up_at:
        total = int(client.get("/v1/adapters?per_page=1")["total"])
        if total >= files:
            return total
        time.sleep(0.05)
    return total


if __name__ == "__main__":
    main()

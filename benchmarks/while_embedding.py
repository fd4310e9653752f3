"""How long a plain list request takes while 1,000 adapters are embedded, beside a quiet server.

    python benchmarks/while_embedding.py [--quick] [--count 1000] [--seconds 20]

A stand-alone server process with a SQLite database; one client asks for the first page at a steady
pace, first in peace, then from the moment the embedding is asked for, so that importing torch and
loading the model are in it. Goal: 99 of 100 requests within 50 ms.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from killable import Server, ask
from recommendations_library import write_file
from recommendations_set import RecommendationSet

_GOAL_MS = 50.0
#: Between two requests, as a person who scrolls makes them; the server is not to be saturated.
_PAUSE_S = 0.05
#: Requests between two looks at how far it is.
_AT_ONCE = 10
_JOB = "embeddings.text"
_LIST = "/v1/adapters?per_page=24"
_QUICK_COUNT, _QUICK_SECONDS = 40, 2.0


def main() -> None:
    """Print both distributions and the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few adapters, to see that it runs")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the quiet server")
    args = parser.parse_args()
    count = _QUICK_COUNT if args.quick else args.count
    seconds = _QUICK_SECONDS if args.quick else args.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count):
            write_file(folder / "loras", number)
        server = Server(
            folder,
            f"sqlite:///{folder / 'lora-manager.sqlite3'}",
            ["--library", str(folder / "loras")],
            {"LORA_MANAGER_AUTO_EMBED": "false", "LORA_MANAGER_AUTO_HASH": "false"},
        )
        server.start()
        try:
            server.wait_until_ready()
            _measure(server.port, count, seconds)
        finally:
            server.stop()


def _measure(port: int, count: int, seconds: float) -> None:
    _wait_until(lambda: _get(port, "/v1/library")["last_scan"] is not None)
    _describe(port, count)
    print(f"{count} adapters, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    end = time.monotonic() + seconds
    quiet = []
    while time.monotonic() < end:
        quiet.append(_list_ms(port))
    _told("in peace", quiet)
    status, answer = ask(
        port,
        "POST",
        "/v1/recommendations/embeddings/compute",
        {"compute_all": True, "background": True},
    )
    if status != 202:
        raise SystemExit(f"The embedding was refused: {answer}")
    began = time.monotonic()
    times: dict[bool, list[float]] = {True: [], False: []}
    while (due := _due(port)) is not None:
        times[due == count] += [_list_ms(port) for _ in range(_AT_ONCE)]
    took_s = time.monotonic() - began
    _told("model being loaded", times[True])
    _told("texts being embedded", times[False])
    p99 = _told("both", times[True] + times[False])
    print(f"{count} adapters embedded in {took_s:.1f} s (load {os.getloadavg()[0]:.1f})")
    left = _get(port, "/v1/recommendations/embeddings")["text"]
    print(f"states of the texts: {left}")
    verdict = "reached" if p99 < _GOAL_MS else "MISSED"
    print(f"\np99 of a list request while embedding: < {_GOAL_MS:.0f} ms, {p99:.1f} ms {verdict}")


def _describe(port: int, count: int) -> None:
    """The texts of the described adapters, with a number, for the adapters of the scan."""
    documents = RecommendationSet().documents
    found = [
        item
        for page in range(1, -(-count // 1000) + 1)
        for item in _get(port, f"/v1/adapters?per_page=1000&page={page}")["items"]
    ]
    for number, (item, document) in enumerate(zip(found, itertools.cycle(documents), strict=False)):
        changes = {
            "name": f"{document.name} {number}",
            "description": document.description,
            "tags": list(document.tags),
            "trained_words": list(document.trained_words),
        }
        status, answer = ask(port, "PATCH", f"/v1/adapters/{item['id']}", changes)
        if status != 200:
            raise SystemExit(f"An adapter was not described: {answer}")


def _list_ms(port: int) -> float:
    """Milliseconds of a list request, from connecting to the last byte; then a pause."""
    started = time.perf_counter()
    _get(port, _LIST)
    took_ms = (time.perf_counter() - started) * 1000
    time.sleep(_PAUSE_S)
    return took_ms


def _told(title: str, times: list[float]) -> float:
    """Print percentiles in milliseconds; gives the 99th, of nothing 0."""
    if not times:
        print(f"{title:24} over before it was looked at")
        return 0.0
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    print(
        f"{title:24}{len(times):6} requests  p50 {p50:6.1f}  p95 {p95:6.1f}  p99 {p99:6.1f}  "
        f"longest {max(times):6.1f} ms",
        flush=True,
    )
    return float(p99)


def _due(port: int) -> int | None:
    """How many adapters are to be embedded still; None once the job has ended."""
    coverage = _get(port, "/v1/recommendations/embeddings")
    if not any(job["kind"] == _JOB for job in coverage["jobs"]):
        return None
    return sum(coverage["text"].get(state, 0) for state in ("missing", "stale"))


def _wait_until(claim: Callable[[], bool]) -> None:
    while not claim():
        time.sleep(0.1)


def _get(port: int, path: str) -> dict:
    status, answer = ask(port, "GET", path)
    if status != 200:
        raise SystemExit(f"{path}: {status} {answer}")
    return answer


if __name__ == "__main__":
    main()

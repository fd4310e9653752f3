"""What the pictures of one page of cards cost: made for the first time, again, and in full.

    python benchmarks/previews.py [--count 100] [--width 832 --height 1216]

A library with a picture beside each adapter is made, the stand-alone server is started as a process
of its own, and six keep-alive clients, as many as a browser opens, ask for all pictures of the
page. The bare cost is reading the files that are answered with.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from library import Server
from PIL import Image

from tests.fakes.lora_files import write_lora

_CLIENTS = 6


def main() -> None:
    """Measure both kinds of pictures and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100, help="adapters on the page")
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--height", type=int, default=1216)
    args = parser.parse_args()
    for kind in ("PNG", "JPEG"):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as data:
            made = _library(Path(folder), args.count, kind, (args.width, args.height))
            with Server(data, Path(folder)) as server:
                server.wait_for_scan(args.count)
                pages = server.client().get(f"/v1/adapters?per_page={args.count}")["items"]
                urls = [record["preview_url"] for record in pages]
                small = [f"{url}&width=256" for url in urls]
                print(f"{args.count} {kind} pictures of {args.width}x{args.height}, {made} MB")
                _row("small copies, made now", _fetch(server, small))
                _row("small copies, again", _fetch(server, small), _read(Path(data, "thumbnails")))
                _row("in full", _fetch(server, urls), _read(Path(folder), "*.preview.*"))


def _library(folder: Path, count: int, kind: str, size: tuple[int, int]) -> int:
    """Adapters with pictures like photographs: soft shapes with some grain; gives their MB."""
    random = np.random.default_rng(7)
    coarse = random.integers(0, 256, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize(size), dtype=np.int16)
    grain = random.integers(-4, 5, soft.shape, dtype=np.int16)
    content = BytesIO()
    Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(content, kind)
    ending = {"PNG": "png", "JPEG": "jpg"}[kind]
    for number in range(count):
        write_lora(folder / f"lora{number}.safetensors", seed=number)
        (folder / f"lora{number}.preview.{ending}").write_bytes(content.getvalue())
    return round(len(content.getvalue()) * count / 1e6)


def _fetch(server: Server, urls: Sequence[str]) -> float:
    """Seconds until all clients together have all pictures."""

    def _ask(some: Sequence[str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        for url in some:
            connection.request("GET", url)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{url}: {answer.status}")
        connection.close()

    threads = [
        threading.Thread(target=_ask, args=(urls[number::_CLIENTS],)) for number in range(_CLIENTS)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _read(folder: Path, pattern: str = "*.thumbnail") -> float:
    began = time.perf_counter()
    for path in folder.rglob(pattern):
        path.read_bytes()
    return time.perf_counter() - began


def _row(title: str, ours: float, bare: float | None = None) -> None:
    plain = f"   bare {bare * 1000:8.1f} ms" if bare is not None else ""
    print(f"  {title:24} {ours * 1000:8.1f} ms{plain}")


if __name__ == "__main__":
    main()

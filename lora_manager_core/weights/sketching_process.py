"""The helper process of `sketching`: a path in, a row out, with little haste."""

from __future__ import annotations

import os
import sys

import orjson
import psutil

from lora_manager_core.weights.row import sketch_row


def main() -> None:
    """Answer every line."""
    try:
        gently = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10) if os.name == "nt" else 10
        psutil.Process().nice(gently)
    except (psutil.Error, OSError):
        pass  # then at the usual priority
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(orjson.dumps(sketch_row(orjson.loads(line))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

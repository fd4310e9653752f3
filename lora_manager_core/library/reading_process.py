"""The helper process of `reading`: a line of files in, a line of their columns out."""

from __future__ import annotations

import sys

import orjson

from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.walk import FoundFile


def main() -> None:
    """Answer every line."""
    for line in sys.stdin.buffer:
        rows = [columns_from_file(FoundFile(*fields)) for fields in orjson.loads(line)]
        sys.stdout.buffer.write(orjson.dumps(rows) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

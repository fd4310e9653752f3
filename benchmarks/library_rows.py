"""A catalogue of any size without files: the generator's plan of each file, as a scan lists it."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from headers import generator

from lora_manager_core.adapters.writer import AdapterWriter, search_text
from lora_manager_core.common.base_labels import normalise_label
from lora_manager_core.common.clock import utc_text
from lora_manager_core.db.unit_of_work import Database

_PORTION = 5000
#: Share of records with a description and tags, as of the generator's files with side files.
_WITH_SIDE_FILE = 0.6
#: Every so-many-th file has the contents of another one.
_DUPLICATE = 200


def fill(data: Path, count: int, generator_file: Path) -> None:
    """Write that many records into the database of a data folder."""
    database = Database(f"sqlite:///{data / 'lora-manager.sqlite3'}")
    database.upgrade()
    rows = _rows(count, generator(generator_file))
    try:
        while portion := list(islice(rows, _PORTION)):
            with database.write() as session:
                AdapterWriter(session).insert_rows(portion)
    finally:
        database.close()


def _rows(count: int, made: Any) -> Iterator[dict[str, Any]]:
    drawn = random.Random(7)
    seen: set[Any] = set()
    names: set[str] = set()
    for index in range(count):
        item = made.plan(drawn, index, seen)
        name = item["stem"].replace(".", "_")
        name = name if name not in names else f"{name} ({item['folder'].as_posix()})"
        names.add(name)
        folder = item["folder"].as_posix()
        path = f"/library/{folder}/{item['stem']}.safetensors"
        told = item["sidecar"] < _WITH_SIDE_FILE
        time = utc_text(datetime.fromtimestamp(item["trained"], timezone.utc))
        sha256 = hashlib.sha256(
            str(index if index % _DUPLICATE else -(index // (2 * _DUPLICATE))).encode()
        ).hexdigest()
        row = {
            "id": str(uuid.UUID(int=drawn.getrandbits(128), version=4)),
            "name": name,
            "name_key": name.casefold(),
            "version": None,
            "author_username": item["creator"] if told else None,
            "description": _sentence(drawn, made) if told else None,
            "tags": item["tags"] if told else [],
            "trained_words": item["words"],
            "base_model": normalise_label(item["base"][0]),
            "base_model_source": "header",
            "network_type": "LoRA",
            "rank": item["dim"],
            "alpha": float(item["dim"]),
            "nsfw_level": 8 if item["nsfw"] else 0,
            "favorite": drawn.random() < 0.02,
            "rating": drawn.choice([None] * 9 + [3, 4, 5]),
            "stats": {"downloadCount": drawn.randrange(50_000)} if told else None,
            "folder": folder,
            "file_path": path,
            "file_key": path,
            "file_size": drawn.randrange(10**6, 10**9),
            "file_mtime_ns": int(item["trained"] * 10**9),
            "primary_file_name": f"{item['stem']}.safetensors",
            "primary_file_sha256": sha256,
            "file_sha256_state": "done",
            "autov2": sha256[:10].upper(),
            "prompt_name": name,
            "origin": "scan",
            "last_ingested_at": time,
            "created_at": time,
            "updated_at": time,
        }
        yield {**row, "search_text": search_text(row)}


def _sentence(drawn: random.Random, made: Any) -> str:
    return " ".join(drawn.choice(made.WORDS + made.SUBJECTS) for _ in range(drawn.randint(20, 120)))

"""Adapters in a database without any files, with the vectors and sketches that jobs would make."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.embeddings.text import adapter_texts
from lora_manager_core.recommendations.vectors.repository import (
    NewText,
    TextVectorWriter,
    adapter_text_rows,
)
from lora_manager_core.recommendations.vectors.sketch_repository import (
    DueFile,
    NewSketch,
    SketchWriter,
)
from lora_manager_core.weights.method import METHOD


def adapter_row(name: str, **fields: Any) -> dict[str, Any]:
    """A row of the catalogue, as a scan would add it."""
    now = utc_now()
    return {
        "id": str(uuid.uuid4()),
        "name": name,
        "name_key": name.casefold(),
        "tags": [],
        "file_path": f"/library/{name}.safetensors",
        "file_key": f"/library/{name}.safetensors",
        "file_size": 1000,
        "file_mtime_ns": 7,
        "origin": "scan",
        "created_at": now,
        "updated_at": now,
        **fields,
    }


def add_adapters(database: Database, *rows: dict[str, Any]) -> list[str]:
    """Add rows; gives their ids."""
    with database.write() as session:
        AdapterWriter(session).insert_rows(rows)
    return [row["id"] for row in rows]


def add_adapter(database: Database, name: str, **fields: Any) -> str:
    """Add one adapter; gives its id."""
    return add_adapters(database, adapter_row(name, **fields))[0]


def edit_adapter(database: Database, adapter_id: str, **fields: Any) -> None:
    """Change fields of one adapter as a person would."""
    with database.write() as session:
        writer = AdapterWriter(session)
        adapter = writer.get(adapter_id)
        assert adapter is not None
        for name, value in fields.items():
            setattr(adapter, name, value)
        writer.save(adapter)


def delete_adapter(database: Database, adapter_id: str) -> None:
    """Take one adapter out of the catalogue."""
    with database.write() as session:
        AdapterWriter(session).remove(Adapters(session).get_many([adapter_id]))


def embed(
    database: Database, embedder: TextEmbedder, adapter_ids: Sequence[str] | None = None
) -> None:
    """Store the text vectors of these adapters (None: of all), as the job does."""
    with database.write() as session:
        rows = adapter_text_rows(session, adapter_ids)
        made = []
        for row in rows:
            texts = adapter_texts(row.fields)
            text, tags = (
                embedder.encode([words])[0].astype("<f2").tobytes() if words else None
                for words in (texts.text, texts.tags)
            )
            made.append(
                NewText(row.adapter_id, row.updated_at, embedder.key, texts.digest, text, tags)
            )
        TextVectorWriter(session).put(made)


def store_sketch(
    database: Database, adapter_id: str, sketch: NDArray[Any] | None, norm: float = 1.0
) -> None:
    """Store a sketch `(64, 64)` of norm 1 of an adapter's file as it is now."""
    with database.write() as session:
        adapter = Adapters(session).get(adapter_id)
        assert adapter is not None
        file = DueFile(adapter.id, adapter.file_path, adapter.file_size, adapter.file_mtime_ns)
        blob = None if sketch is None else sketch.astype("<f2").tobytes()
        problem = None if sketch is not None else "OFT changes the base weights, not adds to them."
        SketchWriter(session).put([NewSketch(file, METHOD, blob, norm, problem=problem)])


def random_sketch(seed: int) -> NDArray[np.float32]:
    """A sketch of norm 1 that is like no other."""
    sketch = np.random.default_rng(seed).standard_normal((64, 64), dtype=np.float32)
    return np.asarray(sketch / np.linalg.norm(sketch))

"""Small archives of every maker, whole and true; hostile ones are made of them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from lora_manager_core.db.migrate import newest_revision
from lora_manager_core.db.models import Adapter
from lora_manager_core.import_export.archive.format import (
    FORMAT,
    FORMAT_VERSION,
    HASHES,
    MANIFEST,
    file_member,
    picture_member,
    record_member,
    table_member,
)
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS, TABLES

ADAPTER_ID = "3f1f3c1e-6a3f-4f59-9d55-0a3a5a0c7a10"
OTHER_ID = "9a9b7c52-2f5d-4a55-8a4b-9d6b6c1c2d3e"
JOB_ID = "5c1b0d8e-7c5e-4a55-9a55-1d2c3b4a5968"
EVENT_ID = "e0b6c9f4-2f6e-4f0d-8a3b-7d1c5e9a2b44"
PREFERENCE_ID = "b7a4d2c8-91e3-4c5f-a6d0-3e8f1b2c4d55"
COLLECTION_ID = "1d4f7b60-5c2e-4f0b-9a67-2b3c4d5e6f70"
STACK_ID = "2e5a8c71-6d3f-4a1c-8b78-3c4d5e6f7a81"
MOMENT = "2026-07-23T11:48:34.000000Z"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(40)

#: A member's name → its contents, in order.
Members = dict[str, bytes]


def model(seed: int = 0, width: int = 32) -> bytes:
    """A safetensors file of some 16 bytes for each of `width`."""
    values = np.random.default_rng(seed).standard_normal((4, width)).astype(np.float16)
    return save({"lora_unet_x.lora_down.weight": values, "lora_unet_x.lora_up.weight": values.T})


def columns(adapter_id: str = ADAPTER_ID, **changes: Any) -> dict[str, Any]:
    """All columns of a record."""
    plain: dict[str, Any] = {"tags": [], "trained_words": [], "triggers": []}
    plain |= {"trigger_groups": [], "chosen_groups": []}
    for column in Adapter.__table__.columns:
        default: Any = column.default
        if default is not None and not default.is_callable:
            plain[column.name] = default.arg
    known = {
        **{name: plain.get(name) for name in RECORD_COLUMNS},
        "id": adapter_id,
        "name": "Ink portrait",
        "tags": ["ink", "portrait"],
        "notes": "good at 0.7",
        "rating": 5,
        "edited_fields": ["notes", "rating"],
        "primary_file_name": "ink.safetensors",
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
    return {**known, **changes}


def record(adapter_id: str = ADAPTER_ID, **changes: Any) -> dict[str, Any]:
    """`record.json` of an adapter with its model, a side file and a preview; `location` and `files`
    can be changed, everything else changes columns."""
    location = changes.pop("location", {})
    files = changes.pop("files", None)
    if files is None:
        files = [
            {
                "member": file_member(adapter_id, name),
                "kind": kind,
                "name": name,
                "mtime_ns": 1_700_000_000_000_000_000,
            }
            for name, kind in (
                ("ink.safetensors", "model"),
                ("ink.json", "side"),
                ("ink.preview.png", "preview"),
            )
        ]
    return {
        "adapter": columns(adapter_id, **changes),
        "location": {"folder": "styles", "file_name": "ink.safetensors", **location},
        "files": files,
    }


def rows() -> dict[str, list[dict[str, Any]]]:
    """Rows of every table that refer to each other."""
    known: dict[str, dict[str, Any]] = {
        "choices": {"name": "inject", "value": {"on": True}},
        "excluded_files": {
            "file_key": "/x/a.safetensors",
            "file_path": "/x/a.safetensors",
            "name": "a",
            "excluded_at": MOMENT,
        },
        "feedback_events": {
            "id": EVENT_ID,
            "user": "",
            "kind": "positive",
            "adapter_id": ADAPTER_ID,
            "reason": "so calm",
            "implicit": False,
            "created_at": MOMENT,
        },
        "preferences": {
            "id": PREFERENCE_ID,
            "user": "",
            "kind": "tag",
            "value": "Ink",
            "confidence": 0.75,
            "explicit": True,
            "created_at": MOMENT,
            "updated_at": MOMENT,
        },
        "collections": {
            "id": COLLECTION_ID,
            "name": "Calm ones",
            "position": 0,
            "created_at": MOMENT,
            "updated_at": MOMENT,
        },
        "collection_adapters": {
            "collection_id": COLLECTION_ID,
            "adapter_id": ADAPTER_ID,
            "position": 0,
            "added_at": MOMENT,
        },
        "stacks": {
            "id": STACK_ID,
            "name": "Ink look",
            "created_at": MOMENT,
            "updated_at": MOMENT,
        },
        "stack_entries": {
            "stack_id": STACK_ID,
            "position": 0,
            "adapter_id": ADAPTER_ID,
            "name": "Ink portrait",
            "weight": 0.75,
            "trigger_groups": ["night"],
        },
        "jobs": {
            "id": JOB_ID,
            "kind": "generate",
            "lane": "gpu",
            "status": "succeeded",
            "payload": {"prompt": "ink"},
            "result": {"images": 1},
            "progress": 1.0,
            "work": 1.0,
            "attempts": 1,
            "retries_left": 0,
            "created_at": MOMENT,
            "started_at": MOMENT,
            "finished_at": MOMENT,
        },
        "job_attempts": {
            "job_id": JOB_ID,
            "number": 1,
            "started_at": MOMENT,
            "ended_at": MOMENT,
            "outcome": "succeeded",
        },
        "results": {
            "job_id": JOB_ID,
            "finished_at": MOMENT,
            "is_favorite": True,
            "prompt_key": "ink",
        },
        "result_images": {
            "job_id": JOB_ID,
            "number": 0,
            "file_path": "/pictures/a.png",
            "width": 8,
            "height": 8,
            "seed": 7,
            "infotext": "ink\nSeed: 7",
            "created_at": MOMENT,
        },
        "generation_runs": {
            "id": 1,
            "source": "job",
            "job_id": JOB_ID,
            "finished_at": MOMENT,
            "images": 1,
        },
        "run_adapters": {
            "run_id": 1,
            "position": 0,
            "adapter_id": ADAPTER_ID,
            "name": "Ink portrait",
            "weight": 0.8,
        },
    }
    return {
        table.name: [{name: known[table.name].get(name) for name in table.columns}]
        for table in TABLES
    }


def own_members() -> Members:
    """What an export of ours holds, but for the manifest and the hashes."""
    members = {record_member(ADAPTER_ID): dump(record())}
    for table, its_rows in rows().items():
        members[table_member(table)] = b"".join(dump(row) + b"\n" for row in its_rows)
    members[file_member(ADAPTER_ID, "ink.safetensors")] = model()
    members[file_member(ADAPTER_ID, "ink.json")] = b'{"activation text": "inkstyle"}'
    members[file_member(ADAPTER_ID, "ink.preview.png")] = PICTURE
    members[picture_member(JOB_ID, 0)] = PICTURE
    return members


def sealed(members: Mapping[str, bytes], **head: Any) -> Members:
    """The members with a true manifest before them and the hashes behind; `head` changes it."""
    listed = []
    later = {}
    for name, content in members.items():
        digest = hashlib.sha256(content).hexdigest()
        stored = "/files/" in name or name.startswith("pictures/")
        listed.append({"name": name, "size": len(content), "sha256": None if stored else digest})
        if stored:
            later[name] = digest
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "id": OTHER_ID,
        "kind": "export",
        "created_at": MOMENT,
        "created_by": "sd-lora-manager",
        "schema": newest_revision(),
        "contents": {"loras": True},
        "counts": {"adapters": sum(name.endswith("/record.json") for name in members)},
        "left_out": [],
        "backup_type": None,
        "reason": None,
        "members": listed,
        **head,
    }
    return {
        MANIFEST: dump({name: value for name, value in manifest.items() if value is not ...}),
        **members,
        HASHES: dump({"members": later}),
    }


def lora_api_members(
    stored_as: str = "0_ink.safetensors", content: bytes | None = None, **metadata: Any
) -> Members:
    """What LoraAPIBackend would export: one adapter with its model and its JSON file."""
    folder = f"adapters/{ADAPTER_ID}"
    content = model() if content is None else content
    side = b'{"activation text": "inkstyle"}'
    manifest = {
        "generated_at": "2026-07-23T11:48:34+00:00",
        "adapter_count": 1,
        "adapters": [
            {
                "id": ADAPTER_ID,
                "name": "Ink portrait",
                "version": "v2",
                "metadata_path": f"{folder}/metadata.json",
                "files": [
                    {
                        "kind": "primary",
                        "original_path": "/srv/loras/ink.safetensors",
                        "original_name": "ink.safetensors",
                        "exists": True,
                        "size": len(content),
                        "archive_path": f"{folder}/files/{stored_as}",
                    },
                    {
                        "kind": "primary_local",
                        "original_path": "/srv/loras/gone.safetensors",
                        "original_name": "gone.safetensors",
                        "exists": False,
                        "size": 0,
                    },
                    {
                        "kind": "metadata",
                        "original_path": "/srv/loras/ink.json",
                        "original_name": "ink.json",
                        "exists": True,
                        "size": len(side),
                        "archive_path": f"{folder}/files/1_ink.json",
                    },
                ],
            }
        ],
    }
    told = {
        "name": "Ink portrait",
        "version": "v2",
        "visibility": "Public",
        "tags": ["ink"],
        "trained_words": ["inkstyle"],
        "file_path": "/srv/loras/ink.safetensors",
        "weight": 0.8,
        "active": True,
        "nsfw_level": 1,
        "json_file_path": "/srv/loras/ink.json",
        **metadata,
    }
    return {
        MANIFEST: dump(manifest),
        f"{folder}/metadata.json": dump(told),
        f"{folder}/files/{stored_as}": content,
        f"{folder}/files/1_ink.json": side,
    }


def folder_members() -> Members:
    """A folder that somebody zipped."""
    return {
        "styles/ink.v2.safetensors": model(),
        "styles/ink.v2.civitai.info": b'{"id": 7}',
        "styles/ink.v2.preview.png": PICTURE,
        "styles/read me.txt": b"hello",
        "Zebra.SAFETENSORS": model(1),
    }


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """An ordinary ZIP of them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def dump(value: Any) -> bytes:
    """JSON as Python writes it, which knows infinities."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")

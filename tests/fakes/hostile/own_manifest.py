"""Archives of ours whose manifest is not true."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lora_manager_core.import_export.archive.format import (
    HASHES,
    MANIFEST,
    file_member,
    table_member,
)
from tests.fakes.hostile.base import EVIL, Hostile, of, raw
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    JOB_ID,
    dump,
    model,
    own_members,
    sealed,
)


def lying_manifests() -> Iterator[Hostile]:
    """Manifests and hashes that are not true."""
    members = own_members()
    whole = sealed(members)

    def _with(change: Callable[[Any], Any], name: str = MANIFEST) -> bytes:
        document = json.loads(whole[name])
        changed = change(document)
        return raw({**whole, name: dump(document if changed is None else changed)})

    model_member = file_member(ADAPTER_ID, "ink.safetensors")
    documents: dict[str, tuple[bytes, str]] = {
        "newer format": (_with(lambda d: d.update(format_version=2)), "newer version"),
        "newer schema": (_with(lambda d: d.update(schema="9999")), "newer version"),
        "version that is text": (_with(lambda d: d.update(format_version="1")), "version"),
        "version that is true": (_with(lambda d: d.update(format_version=True)), "version"),
        "version 0": (_with(lambda d: d.update(format_version=0)), "version"),
        "no kind": (_with(lambda d: d.update(kind=None)), "neither an export nor a backup"),
        "no members": (_with(lambda d: d.update(members=None)), "lists no members"),
        "members that are text": (_with(lambda d: d.update(members=["a"])), "cannot be read"),
        "member twice": (_with(lambda d: d["members"].append(d["members"][0])), "one twice"),
        "member that is missing": (
            _with(lambda d: d["members"].append({"name": "x", "size": 0, "sha256": "0" * 64})),
            "missing from the archive",
        ),
        "member too many": (
            raw({**whole, f"adapters/{ADAPTER_ID}/files/extra.safetensors": model(3)}),
            "not in its manifest",
        ),
        "member that leads elsewhere": (
            _with(
                lambda d: d["members"].append({"name": f"../{EVIL}", "size": 0, "sha256": "0" * 64})
            ),
            "missing from the archive",
        ),
        "another size": (_with(lambda d: d["members"][0].update(size=1)), "another size"),
        "size that is text": (_with(lambda d: d["members"][0].update(size="1")), "another size"),
        "hash that is none": (_with(lambda d: d["members"][0].update(sha256="x")), "hash of"),
        "hash that is nowhere": (_with(lambda d: d["members"][0].update(sha256=None)), "hash of"),
        "more adapters than there are": (
            _with(lambda d: d["counts"].update(adapters=7)),
            "more or fewer adapters",
        ),
        "counts that are text": (_with(lambda d: d.update(counts={"adapters": "1"})), "counts"),
        "counts below nothing": (_with(lambda d: d.update(counts={"jobs": -1})), "counts"),
        "no counts": (_with(lambda d: d.update(counts=None)), "what it holds"),
        "id that is a list": (_with(lambda d: d.update(id=[])), "“id”"),
        "left out that is text": (_with(lambda d: d.update(left_out=["a"])), "left out"),
        "no hashes": (raw({n: c for n, c in whole.items() if n != HASHES}), "cut off"),
        "hashes that are text": (_with(lambda d: ["x"], HASHES), "or no hashes"),
        "hash too many": (_with(lambda d: d["members"].update(x="0" * 64), HASHES), "too many"),
        "hash too few": (
            _with(lambda d: d.update(members=dict(list(d["members"].items())[1:])), HASHES),
            "hash of",
        ),
        "no JSON": (raw({**whole, MANIFEST: b"{"}), "not valid JSON"),
        "no UTF-8": (raw({**whole, MANIFEST: b'{"format": "\xff"}'}), "not valid JSON"),
        "infinity": (raw({**whole, MANIFEST: b'{"format": 1e999}'}), "not valid JSON"),
        "not a number": (raw({**whole, MANIFEST: b'{"format": NaN}'}), "not valid JSON"),
        "surrogate": (raw({**whole, MANIFEST: b'{"format": "\\ud800"}'}), "not valid JSON"),
        "deep": (raw({**whole, MANIFEST: b"[" * 100_000}), "not valid JSON"),
        "long": (raw({**whole, MANIFEST: b" " * (5 * 2**20)}), "larger than"),
    }
    for name, (content, reason) in documents.items():
        yield of(f"manifest: {name}", content, reason)
    unknown = {
        "unknown member": "notes.txt",
        "program": f"adapters/{ADAPTER_ID}/run.py",
        "file of no adapter": "adapters/nobody/files/a.safetensors",
        "folder among files": f"adapters/{ADAPTER_ID}/files/deep/a.safetensors",
        "unknown table": "tables/api_keys.jsonl",
        "table that is derived": "tables/adapter_tags.jsonl",
        "picture that is no picture": f"pictures/{JOB_ID}/0.html",
        "picture of a huge number": f"pictures/{JOB_ID}/99999999999.png",
    }
    for name, member in unknown.items():
        yield of(
            f"manifest: {name}",
            raw(sealed({**members, member: b"x"})),
            "nothing that such an archive holds",
        )
    other = {**whole, model_member: model(9)}
    yield of("hashes: another model", raw(other), "not those that were archived", "contents")
    text = json.loads(whole[MANIFEST])
    text["members"][0]["sha256"] = "0" * 64
    yield of(
        "hashes: another record",
        raw({**whole, MANIFEST: dump(text)}),
        "not those that were archived",
        "records",
    )
    text = json.loads(whole[MANIFEST])
    next(m for m in text["members"] if m["name"] == table_member("jobs"))["sha256"] = "0" * 64
    yield of(
        "hashes: other rows",
        raw({**whole, MANIFEST: dump(text)}),
        "not those that were archived",
        "rows",
    )

"""Archives of LoraAPIBackend that lie, and model files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lora_manager_core.import_export.archive.format import (
    MANIFEST,
    file_member,
    record_member,
)
from tests.fakes.hostile.base import EVIL, PICKLE, Hostile, of, ordinary, raw
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    Members,
    dump,
    lora_api_members,
    model,
    own_members,
    record,
    sealed,
)


def foreign() -> Iterator[Hostile]:
    """Manifests and metadata of LoraAPIBackend."""

    def _manifest(change: Callable[[dict[str, Any]], Any]) -> bytes:
        members = lora_api_members()
        manifest = json.loads(members[MANIFEST])
        change(manifest["adapters"][0])
        return raw({**members, MANIFEST: dump(manifest)})

    def _file(**changes: Any) -> bytes:
        return _manifest(lambda adapter: adapter["files"][0].update(changes))

    opened: dict[str, tuple[bytes, str]] = {
        "no adapters": (raw({MANIFEST: dump({"adapters": []}), "a.txt": b""}), "no adapters"),
        "adapter that is text": (raw({MANIFEST: dump({"adapters": ["x"]})}), "cannot be read"),
        "metadata outside": (
            _manifest(lambda a: a.update(metadata_path="../../etc/passwd")),
            "not in the archive",
        ),
        "metadata that is absolute": (
            _manifest(lambda a: a.update(metadata_path="/etc/passwd")),
            "not in the archive",
        ),
        "path of metadata that is a list": (
            _manifest(lambda a: a.update(metadata_path=["x"])),
            "not in the archive",
        ),
        "file outside": (_file(archive_path=f"../{EVIL}"), "not in the archive"),
        "file that is absolute": (_file(archive_path="/etc/passwd"), "not in the archive"),
        "file on a drive": (_file(archive_path="C:\\x.safetensors"), "not in the archive"),
        "name outside": (_file(original_name=f"../{EVIL}.safetensors"), "another folder"),
        "name on a drive": (_file(original_name=f"C:{EVIL}.safetensors"), "drive letter"),
        "name below": (_file(original_name="a/b.safetensors"), "name that is none"),
        "name of another ending": (_file(original_name="run.py"), "another ending"),
        "another size": (_file(size=3), "another size"),
        "files that are text": (_manifest(lambda a: a.update(files="x")), "cannot be read"),
        "file that is text": (_manifest(lambda a: a.update(files=["x"])), "cannot be read"),
        "model that is a pickle": (
            raw(_renamed(lora_api_members("0_ink.pt", PICKLE), "ink.pt")),
            "allow_pickles",
        ),
    }
    for name, (content, reason) in opened.items():
        yield of(f"lora-api: {name}", content, reason)
    records: dict[str, tuple[dict[str, Any], str]] = {
        "weight that is text": ({"weight": "heavy"}, "not a number"),
        "infinite weight": ({"weight": float("inf")}, "not valid JSON"),
        "weight without measure": ({"weight": 1e200}, "not between"),
        "name that no prompt can hold": ({"name": "<lora:x>"}, "no prompt can"),
        "long name": ({"name": "x" * 600}, "longer than"),
        "tags that are numbers": ({"tags": [1, 2]}, "list of texts"),
        "extra that is text": ({"extra": "x"}, "not a JSON object"),
        "NUL in its description": ({"description": "a\0b"}, "NUL"),
        "visibility of an unknown kind": ({"visibility": "all"}, "none of"),
        "huge place": ({"ordinal": 2**31}, "too large"),
    }
    for name, (metadata, reason) in records.items():
        yield of(f"lora-api: {name}", raw(lora_api_members(**metadata)), reason, "records")
    members = lora_api_members()
    members[f"adapters/{ADAPTER_ID}/metadata.json"] = b"not json"
    yield of("lora-api: metadata that is no JSON", raw(members), "not valid JSON", "records")
    members[f"adapters/{ADAPTER_ID}/metadata.json"] = b"[1]"
    yield of("lora-api: metadata that is a list", raw(members), "not a JSON object", "records")


def _renamed(members: Members, name: str) -> Members:
    manifest = json.loads(members[MANIFEST])
    manifest["adapters"][0]["files"][0]["original_name"] = name
    return {**members, MANIFEST: dump(manifest)}


def models() -> Iterator[Hostile]:
    """Model files that are none, or that could run something."""
    header = b'{"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}'
    contents: dict[str, tuple[bytes, str]] = {
        "pickle": (PICKLE, "no usable model"),
        "zip with a pickle": (ordinary({"data.pkl": PICKLE}), "no usable model"),
        "nothing": (b"", "is empty"),
        "web page": (b"<!DOCTYPE html><html></html>", "no usable model"),
        "program": (b"MZ\x90\0" + bytes(100), "no usable model"),
        "header of a terabyte": ((2**40).to_bytes(8, "little") + b"{}", "no usable model"),
        "header that is no JSON": ((9).to_bytes(8, "little") + b"{" * 9, "no usable model"),
        "tensors cut off": (len(header).to_bytes(8, "little") + header + b"123", "cut off"),
        "tensor beyond the file": (
            (len(header) + 1).to_bytes(8, "little") + header.replace(b"0,8", b"9,17") + bytes(8),
            "cut off",
        ),
    }
    for name, (content, reason) in contents.items():
        folder = raw({"good.safetensors": model(), "a.safetensors": content})
        yield of(f"model in a folder: {name}", folder, reason, "contents")
        own = {**own_members(), file_member(ADAPTER_ID, "ink.safetensors"): content}
        yield of(f"model of ours: {name}", raw(sealed(own)), reason, "contents")
        api = raw(lora_api_members(content=content))
        yield of(f"model of lora-api: {name}", api, reason, "contents")
    for ending in (".pt", ".ckpt", ".PT"):
        yield of(
            f"model in a folder: {ending} with a payload",
            raw({"good.safetensors": model(), f"a{ending}": PICKLE}),
            "allow_pickles",
        )
    member = file_member(ADAPTER_ID, "ink.pt")
    files = [{"member": member, "kind": "model", "name": "ink.pt", "mtime_ns": 0}]
    own = {
        **own_members(),
        record_member(ADAPTER_ID): dump(record(files=files, location={"file_name": "ink.pt"})),
        member: PICKLE,
    }
    yield of("model of ours: .pt with a payload", raw(sealed(own)), "allow_pickles")

"""Archives of ours with records and rows that cannot be stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lora_manager_core.import_export.archive.format import (
    file_member,
    record_member,
    table_member,
)
from tests.fakes.hostile.base import EVIL, Hostile, of, raw
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    OTHER_ID,
    dump,
    own_members,
    record,
    rows,
    sealed,
)


def bad_records() -> Iterator[Hostile]:
    """Records that cannot be stored, or lead elsewhere."""

    def _file(**changes: Any) -> dict[str, Any]:
        plain = {"member": file_member(ADAPTER_ID, "ink.safetensors"), "kind": "model"}
        return {**plain, "name": "ink.safetensors", "mtime_ns": 0, **changes}

    deep: Any = []
    for _ in range(300):
        deep = [deep]
    values: dict[str, tuple[dict[str, Any], str]] = {
        "id of another": ({"id": OTHER_ID}, "that of another"),
        "id that is none": ({"id": "../../x"}, "not an id"),
        "no name": ({"name": ""}, "empty"),
        "null name": ({"name": None}, "may not be null"),
        "name that no prompt can hold": ({"name": "a:b>c"}, "no prompt can"),
        "NUL in its name": ({"name": "a\0b"}, "NUL"),
        "NUL in its notes": ({"notes": "a\0b"}, "NUL"),
        "NUL in a tag": ({"tags": ["a\0"]}, "NUL"),
        "long name": ({"name": "x" * 501}, "longer than 500"),
        "long version": ({"version": "x" * 201}, "longer than 200"),
        "weight that is text": ({"weight": "1"}, "not a number"),
        "weight that is true": ({"weight": True}, "not a number"),
        "weight without measure": ({"weight": 1e300}, "not between"),
        "rating of 6": ({"rating": 6}, "not between"),
        "rating of a half": ({"rating": 4.5}, "not a whole number"),
        "nsfw of 1000": ({"nsfw_level": 1000}, "not between"),
        "huge rank": ({"rank": 2**40}, "too large"),
        "huge size": ({"file_size": 2**70}, "not a whole number"),
        "negative size": ({"file_size": -1}, "not between"),
        "active that is text": ({"active": "yes"}, "neither true nor false"),
        "tags that are text": ({"tags": "ink"}, "list of texts"),
        "tags that are numbers": ({"tags": [1]}, "list of texts"),
        "trigger groups that are none": ({"trigger_groups": [{"words": 3}]}, "trigger words"),
        "stats that are a list": ({"stats": [1]}, "not a JSON object"),
        "extra that is deep": ({"extra": {"a": deep}}, "too deeply"),
        "visibility of an unknown kind": ({"visibility": "Everybody"}, "none of"),
        "time that is none": ({"created_at": "yesterday"}, "not a time"),
        "time that cannot be": ({"updated_at": "2026-13-45T99:99:99.000000Z"}, "not a time"),
        "no time": ({"created_at": None}, "may not be null"),
        "unknown column": ({"evil": 1}, "not known here"),
        "column of this database": ({"pk": 1}, "not known here"),
        "folder outside": ({"location": {"folder": "../../x"}}, "leads to another folder"),
        "folder outside, backwards": (
            {"location": {"folder": "a\\..\\..\\x"}},
            "leads to another folder",
        ),
        "absolute folder": ({"location": {"folder": "/etc"}}, "leads to another folder"),
        "folder on a drive": ({"location": {"folder": "C:\\Windows"}}, "leads to another folder"),
        "folder on a server": ({"location": {"folder": "\\\\s\\x"}}, "leads to another folder"),
        "NUL in its folder": ({"location": {"folder": "a\0b"}}, "folder that is none"),
        "folder that is a number": ({"location": {"folder": 7}}, "folder that is none"),
        "file name with a path": (
            {"location": {"file_name": f"a/{EVIL}.safetensors"}},
            "file name that is none",
        ),
        "file name outside": (
            {"location": {"file_name": f"..\\{EVIL}.safetensors"}},
            "leads to another folder",
        ),
        "file name of a program": ({"location": {"file_name": f"{EVIL}.exe"}}, "none of a model"),
        "file name of a pickle": ({"location": {"file_name": f"{EVIL}.pt"}}, "another ending"),
        "no file name": ({"location": {"file_name": ""}}, "file name that is none"),
        "file that is not there": ({"files": [_file(member="x")]}, "not in the archive"),
        "file that is a table": (
            {"files": [_file(member=table_member("jobs"))]},
            "not in the archive",
        ),
        "file with a path": ({"files": [_file(name=f"../{EVIL}.safetensors")]}, "another folder"),
        "file below": ({"files": [_file(name="a/b.safetensors")]}, "name is none"),
        "file of another ending": ({"files": [_file(name="run.json")]}, "another ending"),
        "preview that is a model": ({"files": [_file(kind="preview")]}, "cannot be what"),
        "file of an unknown kind": ({"files": [_file(kind="program")]}, "cannot be what"),
        "file with an impossible time": ({"files": [_file(mtime_ns=2**70)]}, "impossible time"),
        "file twice": ({"files": [_file(), _file(name="INK.safetensors")]}, "twice"),
        "two models": ({"files": [_file(), _file(name="b.safetensors")]}, "several model"),
        "files that are text": ({"files": ["a"]}, "file that cannot be read"),
        "too many files": ({"files": [{}] * 1001}, "over 1000"),
    }
    for name, (changes, reason) in values.items():
        members = {**own_members(), record_member(ADAPTER_ID): dump(record(**changes))}
        yield of(f"record: {name}", raw(sealed(members)), reason, "records")
    lacking = record()
    del lacking["adapter"]["notes"]
    text = dump(record())
    texts: dict[str, tuple[bytes, str]] = {
        "missing column": (dump(lacking), "missing"),
        "list": (b"[]", "not a JSON object"),
        "no location": (dump({**record(), "location": None}), "where its files belong"),
        "no columns": (dump({**record(), "adapter": []}), "not a JSON object"),
        "infinite weight": (dump(record(weight=float("inf"))), "not valid JSON"),
        "weight beyond a double": (text.replace(b'"weight": 1.0', b'"weight": 1e999'), "not valid"),
        "weight that is not a number": (dump(record(weight=float("nan"))), "not valid JSON"),
        "infinity in extra": (dump(record(extra={"a": float("-inf")})), "not valid JSON"),
        "lone surrogate": (text.replace(b"good at", b"good \\ud800 at"), "not valid JSON"),
        "no UTF-8": (text.replace(b"good at", b"good \xff at"), "not valid JSON"),
        "deep": (b'{"adapter":' * 3000, "not valid JSON"),
        "larger than 8 MiB": (dump(record(notes="x" * 9 * 2**20)), "larger than"),
    }
    for name, (text, reason) in texts.items():
        members = {**own_members(), record_member(ADAPTER_ID): text}
        yield of(f"record: {name}", raw(sealed(members)), reason, "records")


def bad_rows() -> Iterator[Hostile]:
    """Rows that cannot be stored."""
    changes: dict[str, tuple[str, dict[str, Any], str]] = {
        "job that is no id": ("jobs", {"id": "1"}, "not an id"),
        "job of an unknown state": ("jobs", {"status": "hacked"}, "none of"),
        "job of a lane of our own": ("jobs", {"lane": "library"}, "none of"),
        "payload that is text": ("jobs", {"payload": "x"}, "not a JSON object"),
        "no payload": ("jobs", {"payload": None}, "may not be null"),
        "progress of 7": ("jobs", {"progress": 7}, "not between"),
        "lease": ("jobs", {"lease_owner": "me"}, "not known here"),
        "huge number of an attempt": ("job_attempts", {"number": 2**40}, "too large"),
        "end of an unknown kind": ("job_attempts", {"outcome": "great"}, "none of"),
        "result rated 9": ("results", {"rating": 9}, "not between"),
        "NUL in an infotext": ("result_images", {"infotext": "a\0"}, "NUL"),
        "picture without width": ("result_images", {"width": 0}, "not between"),
        "seed beyond 64 bits": ("result_images", {"seed": 2**63}, "too large"),
        "run without time": ("generation_runs", {"finished_at": None}, "may not be null"),
        "run that ends all counting": ("generation_runs", {"id": 2**63 - 1}, "not between"),
        "run that lasted less than nothing": ("generation_runs", {"duration_s": -1}, "between"),
        "adapter that is no id": ("run_adapters", {"adapter_id": "x"}, "not an id"),
        "choice of nothing": ("choices", {"value": None}, "may not be null"),
        "long name of a choice": ("choices", {"name": "x" * 101}, "longer than 100"),
        "file key that is a number": ("excluded_files", {"file_key": 7}, "not a text"),
    }
    for name, (table, change, reason) in changes.items():
        row = {**rows()[table][0], **change}
        members = {**own_members(), table_member(table): dump(row)}
        yield of(f"rows: {name}", raw(sealed(members)), reason, "rows")
    row = dump(rows()["generation_runs"][0])
    lines: dict[str, tuple[bytes, str]] = {
        "no JSON": (b"{}\nhello\n", "missing"),
        "no JSON after a good one": (row + b"\nhello\n", "not valid JSON"),
        "list": (b"[]", "not a JSON object"),
        "infinite duration": (
            row.replace(b'"duration_s": null', b'"duration_s": Infinity'),
            "not valid JSON",
        ),
        "duration beyond a double": (
            row.replace(b'"duration_s": null', b'"duration_s": -1e999'),
            "not valid JSON",
        ),
        "line of over 8 MiB": (b" " * (9 * 2**20), "line of over"),
        "no UTF-8": (b"\xff\xfe\n", "not valid JSON"),
    }
    for name, (content, reason) in lines.items():
        members = {**own_members(), table_member("generation_runs"): content}
        yield of(f"rows: {name}", raw(sealed(members)), reason, "rows")

"""Deletions: what a record was, with all that referred to it, and bringing it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lora_manager_core.adapters.undo import references
from lora_manager_core.adapters.undo.kinds import Since, TakeBack, require_unchanged
from lora_manager_core.adapters.undo.repository import RestoringWriter
from lora_manager_core.adapters.writer import default_row, is_untouched, search_text
from lora_manager_core.common.words import numbered_name
from lora_manager_core.db.models import Adapter, UndoEntry
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession

DELETE = "delete"

#: Brings the files of an entry back from the bin: opened around the unit of work, and called in it.
ReturnFiles = Callable[[str], AbstractContextManager[Callable[[WriteSession], None]]]

#: Made anew: the row number may be another's by now, and the database counts the use.
_LEFT_OUT = ("pk", "search_text", "use_count", "last_used_at")
_COLUMNS = tuple(c.name for c in Adapter.__table__.columns if c.name not in _LEFT_OUT)


def before_deletion(
    session: ReadSession, adapters: Sequence[Adapter], files: bool
) -> dict[str, Any]:
    """All there is of these records and of what refers to them, as JSON.

    `files`: their files go to the bin, under the id of the entry.
    """
    usual = default_row()
    records = [
        {name: value for name in _COLUMNS if (value := getattr(adapter, name)) != usual.get(name)}
        for adapter in adapters
    ]
    referring = references.remember(session, [adapter.id for adapter in adapters])
    return {"records": records, "references": referring, "files": files}


class Deletions:
    """An `UndoKind`: records come back with their ids, and with what referred to them."""

    def __init__(self, return_files: ReturnFiles) -> None:
        self._return_files = return_files

    @contextmanager
    def taking_back(self, entry: UndoEntry) -> Iterator[TakeBack]:
        """See `UndoKind`."""
        before = entry.before

        def _take_back(session: WriteSession, force: bool) -> list[str]:
            return _restore(session, before, force)

        if not before["files"]:
            yield _take_back
            return
        with self._return_files(entry.id) as return_files:

            def _with_files(session: WriteSession, force: bool) -> list[str]:
                restored = _take_back(session, force)
                return_files(session)
                return restored

            yield _with_files


def _restore(session: WriteSession, before: Mapping[str, Any], force: bool) -> list[str]:
    rows: list[dict[str, Any]] = [{**default_row(), **row} for row in before["records"]]
    adapters = RestoringWriter(session)
    there = {adapter.id for adapter in adapters.get_many([row["id"] for row in rows])}
    of_files = adapters.by_file([row["file_key"] for row in rows])
    found_anew = [
        one
        for row in rows
        for one in of_files.get(row["file_key"], ())
        if row["id"] not in there and is_untouched(one)
    ]
    if found_anew:  # a scan listed the file again; it knows less of it than we do
        adapters.remove(list({one.id: one for one in found_anew}.values()), exclude=False)
        of_files = adapters.by_file([row["file_key"] for row in rows])
    of_names = adapters.by_name([row["name"] for row in rows])
    taken = {(a.name, a.version_key) for same in of_names.values() for a in same}
    since = [
        Since(row["id"], why, row["name"])
        for row in rows
        for why in _why_not(row, there, of_files, taken)
    ]
    require_unchanged(since, force)
    rows = [row for row in rows if row["id"] not in there]
    for row in rows:
        if (row["name"], row["version_key"]) in taken:
            row["name"] = numbered_name(row["name"], adapters.names_like(row["name"]))
            row["name_key"] = row["name"].casefold()
        row["search_text"] = search_text(row)
    adapters.insert_rows(rows)
    adapters.include_many([row["file_key"] for row in rows])
    restored = [row["id"] for row in rows]
    references.restore(session, before["references"], restored)
    return restored


def _why_not(
    row: Mapping[str, Any],
    there: set[str],
    of_files: Mapping[str, Sequence[Adapter]],
    taken: set[tuple[str, str]],
) -> list[str]:
    if row["id"] in there:
        return ["A record of that id has come from elsewhere; it would be left as it is."]
    if (row["name"], row["version_key"]) in taken:
        return ["Another record has its name; it would get a number."]
    if row["file_key"] in of_files:
        return ["Its file has another record by now; both would be there."]
    return []

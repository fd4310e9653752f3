"""Files that were moved in a way that only their hash tells: their old record takes them over.

A scan takes a new file for one that is gone by size and time stamp. Where several have the same,
or the move changed the time stamp, there is a record without its file, with all that people said
of it, and a new one of which nobody has said anything yet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.hashing.moved_repository import MovedRecord, MovedStore, MovedWriter
from lora_manager_core.library.ingest import merge_columns
from lora_manager_core.library.walk import find_files

#: Records per unit of work: an edit waits only so long for it.
_BATCH = 50


@dataclass(frozen=True, slots=True)
class _Pair:
    """A file that is gone, with its records, and the record of where it is now."""

    gone: Sequence[MovedRecord]
    here: MovedRecord


class MovedFiles:
    """Brings records and moved files together again."""

    def __init__(self, database: Database, library_roots: Callable[[], Sequence[Path]]) -> None:
        self._database = database
        self._library_roots = library_roots

    def reunite(self, sha256s: Collection[str] | None = None) -> dict[str, str]:
        """Do it for files of these hashes, or for all.

        Gives the ids of the records that went, each with that of a record that has its file now.

        Each is one unit of work: the record takes the file over, and the new record goes. What
        people said is kept; where they said something of both records, both stay.
        """
        with self._database.read() as session:
            store = MovedStore(session)
            here = store.untouched(sha256s)
            gone = store.gone({record.sha256 for record in here})
        pairs = [pair for pair in _pairs(gone, here) if not _is_there(pair.gone)]
        found = find_files([Path(pair.here.path) for pair in pairs], self._library_roots())
        reunited: dict[str, str] = {}
        for start in range(0, len(pairs), _BATCH):
            read = [
                (pair, columns_from_file(file))
                for pair in pairs[start : start + _BATCH]
                if (file := found.get(pair.here.path)) is not None
                and (file.size, file.mtime_ns) == pair.here.mark
            ]
            with self._database.write() as session:
                for pair, columns in read:
                    if _take_over(session, pair, columns):
                        reunited[pair.here.id] = pair.gone[0].id
        return reunited


def _take_over(session: WriteSession, pair: _Pair, columns: Mapping[str, Any]) -> bool:
    """Give the file to the records that missed it; False if something has happened to one."""
    writer = MovedWriter(session)
    here = writer.untouched_again(pair.here)
    gone = writer.gone_again(pair.gone)
    if here is None or not gone:
        return False
    news = {
        **columns,
        "prompt_name": here.prompt_name,
        "prompt_name_problem": here.prompt_name_problem,
    }
    hashes = writer.hashes_of(here)
    changes = [
        {**merge_columns(record, news), **hashes, "pk": record.pk, "updated_at": utc_now()}
        for record in gone
    ]
    writer.drop(here)
    writer.update_rows(changes)
    return True


def _is_there(gone: Sequence[MovedRecord]) -> bool:
    """Whether the file is back by now; a drive that does not answer counts as back."""
    try:
        Path(gone[0].path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _pairs(gone: Sequence[MovedRecord], here: Sequence[MovedRecord]) -> list[_Pair]:
    """Which file is which: equal files differ in nothing but their name, so a like name counts."""
    files: dict[str, dict[str, list[MovedRecord]]] = {}
    for record in gone:
        files.setdefault(record.sha256, {}).setdefault(record.key, []).append(record)
    places: dict[str, list[MovedRecord]] = {}
    for record in here:
        places.setdefault(record.sha256, []).append(record)
    pairs = []
    for sha256, of_hash in files.items():
        free = places.get(sha256, [])
        # Those that people told most of come first, should there be fewer files than records.
        waiting = sorted(of_hash.values(), key=lambda own: not any(r.touched for r in own))
        for same_name in (True, False):
            for own in list(waiting):
                match = next((r for r in free if _may_be(own, r, same_name)), None)
                if match is not None:
                    pairs.append(_Pair(own, match))
                    free.remove(match)
                    waiting.remove(own)
    return pairs


def _may_be(gone: Sequence[MovedRecord], here: MovedRecord, same_name: bool) -> bool:
    """Whether that is where a file went: what was there before it was gone is another copy."""
    if here.created_at <= min(record.created_at for record in gone):
        return False
    return not same_name or _name(here.path) == _name(gone[0].path)


def _name(path: str) -> str:
    return PurePath(path).name.casefold()

"""Model files to other places, with all beside them, and their records with them; and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.undo.kinds import Since, TakeBack, require_unchanged
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.paths import path_key, require_inside
from lora_manager_core.db.models import Adapter, UndoEntry
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import LibraryChanged, UndoConflict
from lora_manager_core.library.files.acts import FileActs, FileMove, Proof
from lora_manager_core.library.files.companions import Companions, LibraryRoots, moved_with
from lora_manager_core.library.files.repository import FileRecords, FileWriter

MOVE = "move"
ORGANIZE = "organize"

_NAMED = 20

#: Brings these files up to date in the catalogue: what resolves to them, and what is beside them.
Refresh = Callable[[Sequence[Path]], None]


@dataclass(frozen=True, slots=True)
class Relocation:
    """A model file from where to where; `adapter_id` is one of its records."""

    adapter_id: str
    source: Path
    destination: Path


class Relocator:
    """Moves model files with their side files, previews and records; an `UndoKind`."""

    def __init__(
        self, database: Database, acts: FileActs, roots: LibraryRoots, refresh: Refresh
    ) -> None:
        self._database = database
        self._acts = acts
        self._roots = roots
        self._refresh = refresh

    @contextmanager
    def relocating(
        self, relocations: Sequence[Relocation], companions: Companions
    ) -> Iterator[Callable[[WriteSession], None]]:
        """Open it around a unit of work, and call what it gives at the end of that unit.

        Raises (and then all files are where they were):
            LibraryChanged: something lies at a destination, or a record has another file by now.
            UnsafePath: a place lies outside the library folders.
            StorageFailed, DiskFull: a file cannot be moved; it may be in use.
        """
        roots = self._roots()
        moves: list[FileMove] = []
        for one in relocations:
            require_inside(str(one.destination.parent), roots, "The new place")
            moves += moved_with(companions.of(one.source), one.destination)
        first = relocations[0]
        proof = Proof.of_record(first.adapter_id, first.destination)
        with self._acts.act(moves, proof) as carry_out:

            def _relocate(session: WriteSession) -> None:
                _move_records(session, relocations, dict(moves), roots)
                carry_out()

            yield _relocate

    def refresh(self, relocations: Sequence[Relocation]) -> None:
        """Bring the catalogue up to date after the unit of work."""
        self._refresh([path for one in relocations for path in (one.source, one.destination)])

    @contextmanager
    def taking_back(self, entry: UndoEntry) -> Iterator[TakeBack]:
        """See `UndoKind`: files that are still where they were moved to go back."""
        back, since = self._ways_back(entry.before["records"])
        if not back:

            def _nothing(_session: WriteSession, force: bool) -> list[str]:
                require_unchanged(since, force)
                return []

            yield _nothing
            return
        companions = Companions(self._roots(), [one.source for one in back])
        self._require_free(back)
        with self.relocating(back, companions) as relocate:

            def _take_back(session: WriteSession, force: bool) -> list[str]:
                require_unchanged(since, force)
                relocate(session)
                return [one.adapter_id for one in back]

            yield _take_back
        self.refresh(back)

    def _ways_back(self, records: Sequence[Sequence[str]]) -> tuple[list[Relocation], list[Since]]:
        """What has to go back, and what is somewhere else by now."""
        with self._database.read() as session:
            found = {a.id: a for a in FileRecords(session).get_many([r[0] for r in records])}
        back, since = [], []
        for adapter_id, old, new in records:
            adapter = found.get(adapter_id)
            if adapter is None:
                since.append(Since(adapter_id, "It was deleted; its file stays where it is."))
            elif adapter.file_path == new and os.path.lexists(new):
                back.append(Relocation(adapter_id, Path(new), Path(old)))
            elif adapter.file_path != old:
                since.append(Since(adapter_id, "Its file is somewhere else now.", adapter.name))
        return back, since

    def _require_free(self, relocations: Sequence[Relocation]) -> None:
        taken = [
            str(one.destination)
            for one in relocations
            if self._acts.is_taken(one.source, one.destination)
        ]
        if taken:
            raise UndoConflict(
                f"{len(taken)} of the files cannot go back, because something lies at their old "
                "place now; rename or move it, and try again.",
                paths=taken[:_NAMED],
            )


def as_before(relocations: Sequence[Relocation]) -> dict[str, Any]:
    """The relocations as an undo entry remembers them."""
    return {
        "records": [[one.adapter_id, str(one.source), str(one.destination)] for one in relocations]
    }


def _move_records(
    session: WriteSession,
    relocations: Sequence[Relocation],
    files: Mapping[Path, Path],
    roots: Sequence[Path],
) -> None:
    of_key = {path_key(one.source): one for one in relocations}
    records = FileRecords(session).of_files(list(of_key))
    known = {record.id for record in records}
    if any(one.adapter_id not in known for one in relocations):
        raise LibraryChanged("A file was moved or deleted meanwhile; nothing was done. Try again.")
    rows = [_row(record, of_key[record.file_key].destination, files, roots) for record in records]
    writer = FileWriter(session)
    writer.update_rows(rows)
    writer.include_many([row["file_key"] for row in rows])


def _row(
    record: Adapter, destination: Path, files: Mapping[Path, Path], roots: Sequence[Path]
) -> dict[str, Any]:
    def _new(path: str | None) -> str | None:
        return None if path is None else str(files.get(Path(path), path))

    return {
        "pk": record.pk,
        "file_path": str(destination),
        "file_key": path_key(destination),
        "folder": folder_of(destination, roots),
        "primary_file_name": destination.name,
        "primary_file_local_path": str(destination),
        "json_file_path": _new(record.json_file_path),
        "preview_path": _new(record.preview_path),
        "updated_at": utc_now(),
    }


def root_of(path: Path, roots: Sequence[Path]) -> Path | None:
    """The library folder in which a file lies, as paths are spelled."""
    return next((root for root in roots if path.is_relative_to(root.absolute())), None)


def folder_of(path: Path, roots: Sequence[Path]) -> str:
    """The folder of a file below its library folder, `/` between its parts."""
    root = root_of(path, roots)
    if root is None or path.parent == root.absolute():
        return ""
    return path.parent.relative_to(root.absolute()).as_posix()

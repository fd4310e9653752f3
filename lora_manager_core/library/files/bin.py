"""The bin: files of deleted records, kept in the data folder until the deletion is forgotten."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.undo.repository import OPEN, UNDONE, UndoWriter
from lora_manager_core.common.paths import require_inside
from lora_manager_core.db.models import BinnedFile
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import StorageFailed, UndoConflict
from lora_manager_core.library.files.acts import FileActs, FileMove, Proof
from lora_manager_core.library.files.companions import Companions, LibraryRoots
from lora_manager_core.library.files.repository import FileRecords, FileWriter

_log = logging.getLogger(__name__)

_NAMED = 20


class FileBin:
    """The bin of this installation; `folder` has a folder for each deletion."""

    def __init__(
        self, database: Database, acts: FileActs, roots: LibraryRoots, folder: Path
    ) -> None:
        self._database = database
        self._acts = acts
        self._roots = roots
        self._folder = folder

    @contextmanager
    def binning(
        self, undo_id: str, adapter_ids: Sequence[str]
    ) -> Iterator[Callable[[WriteSession], None]]:
        """Move the files of these records to the bin; a `adapters.bulk.BinFiles`.

        A file that has another record as well stays, and so does what is named after two models.

        Raises:
            UnsafePath: a file lies outside the library folders.
            StorageFailed, DiskFull: a file cannot be moved; all are where they were.
        """
        files = self._files_of(adapter_ids)
        rows: list[dict[str, Any]] = []
        moves: list[FileMove] = []
        for number, file in enumerate(files):
            bin_name = f"{number:06}{file.suffix}"
            status = file.lstat()
            moves.append((file, self._folder / undo_id / bin_name))
            rows.append(
                {
                    "undo_id": undo_id,
                    "number": number,
                    "file_path": str(file),
                    "bin_name": bin_name,
                    "file_size": status.st_size,
                    "file_mtime_ns": status.st_mtime_ns,
                }
            )
        with self._acts.act(moves, Proof.of_entry(undo_id, OPEN)) as carry_out:

            def _bin(session: WriteSession) -> None:
                FileWriter(session).put_in_bin(rows)
                carry_out()

            yield _bin

    @contextmanager
    def returning(self, undo_id: str) -> Iterator[Callable[[WriteSession], None]]:
        """Bring the files of a deletion back; an `adapters.undo.deletions.ReturnFiles`.

        Raises:
            UndoConflict: something lies at the place of a file now, or a file is gone.
            StorageFailed, DiskFull: a file cannot be moved; all are where they were.
        """
        with self._database.read() as session:
            binned = FileRecords(session).binned(undo_id)
        moves = [self._way_back(file) for file in binned]
        self._require_free(moves)
        with self._acts.act(moves, Proof.of_entry(undo_id, UNDONE)) as carry_out:

            def _return(session: WriteSession) -> None:
                FileWriter(session).take_from_bin([undo_id])
                carry_out()
                session.after_commit(lambda: self.forget([undo_id]))

            yield _return

    def contents(self) -> dict[str, Any]:
        """What is in the bin, by deletion, with sizes in bytes."""
        with self._database.read() as session:
            entries = FileRecords(session).bin_contents()
        return {
            "files": sum(entry["files"] for entry in entries),
            "size_bytes": sum(entry["size_bytes"] for entry in entries),
            "entries": entries,
        }

    def empty(self) -> dict[str, Any]:
        """Delete all files in the bin for good; those deletions cannot be taken back then."""
        with self._database.write() as session:
            entries = FileRecords(session).bin_contents()
            undo_ids = [entry["undo_id"] for entry in entries]
            UndoWriter(session).expire(undo_ids)
            FileWriter(session).take_from_bin(undo_ids)
            session.after_commit(lambda: self.forget(undo_ids))
        return {
            "files": sum(entry["files"] for entry in entries),
            "size_bytes": sum(entry["size_bytes"] for entry in entries),
        }

    def forget(self, undo_ids: Sequence[str]) -> None:
        """Remove what is left of deletions; an `ExpiryListener`. What is in use goes later."""
        for undo_id in undo_ids:
            try:
                if (self._folder / undo_id).exists():
                    shutil.rmtree(self._folder / undo_id)
            except OSError as error:
                _log.warning("%s stays in the bin until the next start: %s", undo_id, error)

    def remove_leftovers(self) -> None:
        """Remove folders that no deletion knows of; after `FileActs.recover`."""
        if self._folder.is_dir():
            with self._database.read() as session:
                known = FileRecords(session).bin_ids()
            self.forget([path.name for path in self._folder.iterdir() if path.name not in known])

    def _files_of(self, adapter_ids: Sequence[str]) -> list[Path]:
        wanted = set(adapter_ids)
        with self._database.read() as session:
            records = FileRecords(session)
            chosen = records.get_many(adapter_ids)
            others = {
                record.file_key
                for record in records.of_files([record.file_key for record in chosen])
                if record.id not in wanted
            }
        paths = [Path(one.file_path) for one in chosen if one.file_key not in others]
        paths = list(dict.fromkeys(paths))
        companions = Companions(self._roots(), paths)
        return [file for path in paths for file in companions.of(path)]

    def _way_back(self, file: BinnedFile) -> FileMove:
        path = Path(file.file_path)
        require_inside(str(path.parent), self._roots(), "The place of the file")
        return self._folder / file.undo_id / file.bin_name, path

    def _require_free(self, moves: Sequence[FileMove]) -> None:
        gone = [str(place) for binned, place in moves if not binned.exists()]
        if gone:
            raise StorageFailed(
                "Files of this deletion are no longer in the bin, so that it cannot be taken "
                f"back: {', '.join(gone[:_NAMED])}."
            )
        taken = [str(place) for binned, place in moves if self._acts.is_taken(binned, place)]
        if taken:
            raise UndoConflict(
                f"{len(taken)} of the files cannot come back, because something lies at their "
                "place now; rename or move it, and try again.",
                paths=taken[:_NAMED],
            )

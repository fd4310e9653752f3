"""Where files of an archive go: what lies there already, and what this import has claimed.

Names are compared without case everywhere, so that an archive from one system fits on another.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lora_manager_core.common.paths import MODEL_SUFFIXES, path_key
from lora_manager_core.common.storage import storage_errors
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import Archive, ArchivedFile, ArchivedRecord
from lora_manager_core.import_export.imports.repository import KnownRecord
from lora_manager_core.library.walk import FoundFile, walk_roots

_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """One file of an adapter at its destination. `present` is what has that name here, if any."""

    file: ArchivedFile
    destination: Path
    present: Path | None = None
    is_same: bool = False
    #: This import writes that very file there already; or another one of that name.
    is_shared: bool = False
    is_taken: bool = False

    @property
    def collides(self) -> bool:
        """Whether something else has that name here."""
        return self.present is not None and not self.is_same


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one adapter in their places; `path` is that of the model file."""

    path: Path
    files: tuple[PlacedFile, ...]
    #: Another adapter of this archive has one of the names.
    is_claimed: bool = False

    @property
    def model(self) -> PlacedFile | None:
        """The model file, if the archive has it."""
        return next((placed for placed in self.files if placed.file.kind == "model"), None)

    @property
    def collisions(self) -> list[PlacedFile]:
        """The files whose names are taken by others here."""
        return [placed for placed in self.files if placed.collides]


class Places:
    """The files here as they were when the plan was begun, and what it has claimed since."""

    def __init__(
        self,
        archive: Archive,
        roots: Sequence[Path],
        known: Iterable[KnownRecord],
        check: Callable[[], None],
    ) -> None:
        self._archive = archive
        self._check = check
        files = walk_roots(roots, check).files
        #: Model files here, by key.
        self.models = {found.key: found for found in files}
        self._by_place: dict[tuple[str, str], list[FoundFile]] = {}
        self._by_name: dict[str, list[FoundFile]] = {}
        for found in files:
            name = _name(found)
            self._by_place.setdefault((found.folder.casefold(), name), []).append(found)
            self._by_name.setdefault(name, []).append(found)
        self._hashes: dict[Path, str] = {}
        self._archived: dict[str, str] = {}
        self._told = {
            record.file_key: (record.file_size, record.file_mtime_ns, record.sha256.lower())
            for record in known
            if record.sha256
        }
        self._folders: dict[Path, dict[str, Path]] = {}
        self._claims: dict[str, str] = {}
        #: Size and time stamp of every file that a decision relied on.
        self.seen: dict[Path, tuple[int, int]] = {}

    def attach(self, record: ArchivedRecord) -> FoundFile | None:
        """The file here that an adapter without one is of: by folder, name and size, else by name
        and size if that is one only; its hash decides where it is known.
        """
        size = record.columns.get("file_size") or None
        name = record.file_name.casefold()
        placed = self._by_place.get((record.folder.casefold(), name), ())
        fitting = [found for found in placed if size in (None, found.size)]
        if not fitting and size is not None:
            named = [found for found in self._by_name.get(name, ()) if found.size == size]
            fitting = named if len(named) == 1 else []
        promised = (record.columns.get("primary_file_sha256") or "").lower()
        for found in fitting:
            told = self._told_hash(found.key, found.size, found.mtime_ns)
            if not promised or told in (None, promised):
                self.rely_on(Path(found.path))
                return found
        return None

    def lay_out(self, record: ArchivedRecord, folder: Path, stem: str) -> Layout:
        """Files beside each other in a folder, named by `stem`, as far as they are named alike."""
        suffix = PurePosixPath(record.file_name).suffix
        if suffix.lower() not in MODEL_SUFFIXES:  # whatever a reader lets through
            raise ArchiveRefused(f"“{record.file_name}” is no name of a model file.")
        path = self._actual(folder / (stem + suffix))
        claimed = self._claims.get(_claim_key(path), _owner(record)) != _owner(record)
        files = []
        for file in record.files:
            destination = path if file.kind == "model" else folder / _renamed(record, file, stem)
            files.append(self._place(file, destination))
        return Layout(path, tuple(files), claimed or any(placed.is_taken for placed in files))

    def number(self, record: ArchivedRecord, folder: Path, stem: str) -> Layout:
        """As `lay_out`, with the first number behind the stem with which all names are free."""
        number = 2
        while True:
            layout = self.lay_out(record, folder, f"{stem} {number}")
            taken = layout.is_claimed or any(file.present for file in layout.files)
            if not taken and not os.path.lexists(layout.path):
                return layout
            number += 1

    def claim(self, record: ArchivedRecord, layout: Layout) -> None:
        """Keep the names of a layout for this adapter."""
        self._claims.setdefault(_claim_key(layout.path), _owner(record))
        for placed in layout.files:
            self._claims.setdefault(_claim_key(placed.destination), placed.file.member)

    def rely_on(self, path: Path) -> None:
        """Note the state of a file, which must be the same when the plan is carried out."""
        with storage_errors(path):
            status = path.stat()
        self.seen[path] = (status.st_size, status.st_mtime_ns)

    def is_same(self, file: ArchivedFile, path: Path) -> bool:
        """Whether a file here is, byte for byte, that of the archive."""
        if not path.exists():  # a link that leads nowhere
            return False
        with storage_errors(path):
            status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return False
        self.seen[path] = (status.st_size, status.st_mtime_ns)
        if status.st_size != file.size:
            return False
        told = self._told_hash(path_key(path), status.st_size, status.st_mtime_ns)
        return (told or self._hash(path)) == self._archived_hash(file)

    def _place(self, file: ArchivedFile, destination: Path) -> PlacedFile:
        owner = self._claims.get(_claim_key(destination))
        present = self._present(destination)
        if owner == file.member:
            return PlacedFile(file, present or destination, is_shared=True)
        if present is None:
            return PlacedFile(file, destination, is_taken=owner is not None)
        is_same = self.is_same(file, present)
        return PlacedFile(
            file, present, present, is_same, is_taken=not is_same and owner is not None
        )

    def _actual(self, path: Path) -> Path:
        return self._present(path) or path

    def _present(self, path: Path) -> Path | None:
        """What has that name here, as it is written."""
        names = self._folders.get(path.parent)
        if names is None:
            with storage_errors(path.parent):
                names = self._folders[path.parent] = dict(_names(path.parent))
        if path.name.casefold() not in names:
            return None
        return path if os.path.lexists(path) else names[path.name.casefold()]

    def _told_hash(self, key: str, size: int, mtime_ns: int) -> str | None:
        """What the catalogue knows of the contents, if the file has not changed since."""
        told = self._told.get(key)
        return told[2] if told is not None and told[:2] == (size, mtime_ns) else None

    def _archived_hash(self, file: ArchivedFile) -> str:
        if file.sha256 is not None:
            return file.sha256
        if file.member not in self._archived:
            self._archived[file.member] = self._archive.digest(
                file.member, lambda _count: self._check()
            )
        return self._archived[file.member]

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            digest = hashlib.sha256()
            with storage_errors(path), path.open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    self._check()
            self._hashes[path] = digest.hexdigest()
        return self._hashes[path]


def stem_of(name: str) -> str:
    """A model file's name without its ending."""
    return name.rpartition(".")[0] or name


def _names(folder: Path) -> Iterator[tuple[str, Path]]:
    if folder.is_dir():
        for name in os.listdir(folder):  # noqa: PTH208 - names are wanted
            yield name.casefold(), folder / name


def _renamed(record: ArchivedRecord, file: ArchivedFile, stem: str) -> str:
    """The name of a side file after the model file's was changed."""
    old = stem_of(record.file_name)
    if not file.name.lower().startswith(old.lower()):
        return file.name
    return stem + file.name[len(old) :]


def _name(found: FoundFile) -> str:
    return Path(found.path).name.casefold()


def _claim_key(path: Path) -> str:
    return str(path).casefold()


def _owner(record: ArchivedRecord) -> str:
    """Whose the place of a model file is: two records of one file share it."""
    if record.model is not None:
        return record.model.member
    return record.file_path or f"{record.folder}/{record.file_name}"

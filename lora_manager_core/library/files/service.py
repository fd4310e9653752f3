"""What a person does with the file of one adapter: rename it, or move it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_manager_core.adapters.undo.recorder import UndoRecorder
from lora_manager_core.common.paths import MODEL_SUFFIXES, require_inside
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import AdapterNotFound, InvalidRequest
from lora_manager_core.library.files.companions import Companions, LibraryRoots
from lora_manager_core.library.files.names import why_unsafe
from lora_manager_core.library.files.relocating import (
    MOVE,
    Relocation,
    Relocator,
    as_before,
    root_of,
)
from lora_manager_core.library.files.repository import FileRecords


class FileService:
    """Files as people rename and move them, with all that lies beside them."""

    def __init__(
        self,
        database: Database,
        relocator: Relocator,
        recorder: UndoRecorder,
        roots: LibraryRoots,
    ) -> None:
        self._database = database
        self._relocator = relocator
        self._recorder = recorder
        self._roots = roots

    def move(self, adapter_id: str, name: str | None, folder: str | None) -> dict[str, Any]:
        """Give the file of an adapter another name, another folder, or both.

        `folder` is below the library folder that the file lies in, or absolute in any of them.

        Raises:
            AdapterNotFound: no such adapter.
            InvalidRequest: nothing to do, the file is gone, or the name is not safe everywhere.
            UnsafePath: the folder lies outside the library folders.
            LibraryChanged: something lies there already.
            StorageFailed, DiskFull: a file cannot be moved; it may be in use.
        """
        with self._database.read() as session:
            found = FileRecords(session).get(adapter_id)
        if found is None:
            raise AdapterNotFound(f"There is no adapter {adapter_id}.")
        relocation = Relocation(found.id, Path(found.file_path), self._target(found, name, folder))
        companions = Companions(self._roots(), [relocation.source])
        if not companions.is_there(relocation.source):
            raise InvalidRequest("The model file is gone; scan the library, then try again.")
        title = f"Moved “{found.name}” to {relocation.destination}"
        with (
            self._relocator.relocating([relocation], companions) as relocate,
            self._database.write() as session,
        ):
            undo_id = self._recorder.record(session, MOVE, title, as_before([relocation]))
            relocate(session)
        self._relocator.refresh([relocation])
        with self._database.read() as session:
            return {"adapter": FileRecords(session).record(adapter_id), "undo_id": undo_id}

    def _target(self, found: Adapter, name: str | None, folder: str | None) -> Path:
        source = Path(found.file_path)
        target = source.parent
        if folder is not None:
            target = self._folder(source, folder)
        new_name = source.name
        if name is not None:
            new_name = _stem(name, source.suffix) + source.suffix
            _require_safe("The name", new_name)
        if target / new_name == source:
            raise InvalidRequest("The file has that name and lies there already.")
        return target / new_name

    def _folder(self, source: Path, folder: str) -> Path:
        roots = [root.absolute() for root in self._roots()]
        given = Path(folder)
        if given.is_absolute():
            require_inside(folder, roots, "The folder")
            root = root_of(given, roots)
        else:
            root = root_of(source, roots)
            given = given if root is None else root / folder
        if root is None:
            raise InvalidRequest(
                "Say the folder as the library folder is spelled in the settings, or relative."
            )
        below = given.relative_to(root).as_posix()
        if below != ".":
            _require_safe("The folder", below)
            if any(part.startswith(".") for part in below.split("/")):
                raise InvalidRequest("A part of the folder begins with a dot: scans pass over it.")
        return given


def _stem(name: str, suffix: str) -> str:
    """A name without the ending of the file, which a person may have typed, too."""
    if name.lower().endswith(suffix.lower()) and suffix.lower() in MODEL_SUFFIXES:
        return name[: -len(suffix)]
    return name


def _require_safe(what: str, path: str) -> None:
    why = why_unsafe(path)
    if why is None and what == "The name" and ("/" in path or path.startswith(".")):
        why = "holds a slash or begins with a dot"
    if why is not None:
        raise InvalidRequest(f"{what} {why}; choose another one, which every system can store.")

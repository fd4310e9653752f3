"""The files that go into an archive: where they really lie, and that they stay as they are.

A file goes in only if it is a regular one below a folder that it may come from, links resolved.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_manager_core.errors import StorageFailed
from lora_manager_core.import_export.archive.contents import FileKind
from lora_manager_core.import_export.archive.zip_writer import PIECE_BYTES
from lora_manager_core.library.side_files import PREVIEW_ENDINGS

#: One file of a `side_signature`: `name:size:mtime_ns`, see `library.walk`.
_MARK = re.compile(r"(.+?):(\d+):\d+(?:\||$)", re.S)
#: Folders whose real place is remembered.
_REMEMBERED_FOLDERS = 256


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was found; `number` tells it from another of the same name (inode)."""

    path: str
    size: int
    mtime_ns: int
    number: int


class FileRefused(Exception):
    """Why a file is left out, for people."""


class SourceFolders:
    """The folders that files may come from."""

    def __init__(self, folders: Sequence[Path], what: str) -> None:
        self._inside = tuple(_with_end(os.path.realpath(folder)) for folder in folders)
        self._what = what
        self._real: dict[str, str] = {}

    def find(self, path: str) -> SourceFile:
        """The file at that path, links resolved.

        Raises:
            FileRefused: it lies elsewhere, is not there, not readable or no regular file.
        """
        try:
            real, status = self._resolved(path)
            if not os.path.normcase(real).startswith(self._inside):
                raise FileRefused(f"It does not lie in {self._what}.")
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused("It is not a regular file.")
            os.close(os.open(real, os.O_RDONLY))
        except FileNotFoundError as error:
            raise FileRefused("The file is not there.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "its path is none of this system"
            raise FileRefused(f"The file cannot be read: {reason}.") from error
        return SourceFile(real, status.st_size, status.st_mtime_ns, status.st_ino)

    def _resolved(self, path: str) -> tuple[str, os.stat_result]:
        """As `realpath`, which looks at every folder of the path anew for each file."""
        folder, name = os.path.split(path)
        if name not in ("", os.curdir, os.pardir):
            real = self._real.get(folder)
            if real is None:
                if len(self._real) >= _REMEMBERED_FOLDERS:
                    self._real.clear()
                real = self._real[folder] = os.path.realpath(folder)
            real = os.path.join(real, name)  # noqa: PTH118 - hundreds of thousands of files
            status = os.lstat(real)
            if not stat.S_ISLNK(status.st_mode):
                return real, status
        real = os.path.realpath(path)
        return real, os.lstat(real)


def side_names(side_signature: str) -> Iterator[tuple[str, int]]:
    """Names and sizes of the files beside a model, as the last scan saw them."""
    for match in _MARK.finditer(side_signature):
        yield match.group(1), int(match.group(2))


def kind_of_side_file(name: str) -> FileKind:
    """Whether a file beside a model shows it or tells of it."""
    return "preview" if name.lower().endswith(PREVIEW_ENDINGS) else "side"


def read_unchanged(source: SourceFile, take: Callable[[bytes], None]) -> None:
    """Read a file to its end, if it is the one that was found, and stays so meanwhile.

    Raises:
        StorageFailed: it changed, or cannot be read any more.
    """
    try:
        with open(source.path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            _require_unchanged(source, os.fstat(file.fileno()))
            _require_unchanged(source, os.lstat(source.path))  # a link has a number of its own
            left = source.size
            while left:
                piece = file.read(min(PIECE_BYTES, left))
                if not piece:
                    raise _changed(source)
                left -= len(piece)
                take(piece)
            _require_unchanged(source, os.fstat(file.fileno()))
    except OSError as error:
        raise StorageFailed(
            f"{_name(source)} cannot be read ({error.strerror or error}); the archive was not "
            "finished. Make the file readable and start again."
        ) from error


def _require_unchanged(source: SourceFile, status: os.stat_result) -> None:
    now = (status.st_size, status.st_mtime_ns, status.st_ino)
    if now != (source.size, source.mtime_ns, source.number):
        raise _changed(source)


def _changed(source: SourceFile) -> StorageFailed:
    return StorageFailed(
        f"{_name(source)} was changed while the archive was made; the archive was not finished. "
        "Start again when nothing else writes into the folder."
    )


def _name(source: SourceFile) -> str:
    """For messages, which tell nobody where things lie on this machine."""
    return Path(source.path).name


def _with_end(folder: str) -> str:
    """The folder as a beginning of the paths below it."""
    return os.path.normcase(folder).rstrip(os.sep) + os.sep

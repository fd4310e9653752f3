"""What an opened archive gives, whatever wrote it: adapters, their files, and rows of tables.

`reader` makes one from our own format, from the nearest API's, and from a plain zipped
folder; importing and restoring know only this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lora_manager_core.import_export.archive.format import Manifest

FileKind = Literal["model", "side", "preview"]
#: Who made it: us, the nearest API (LoraAPIBackend), or somebody who zipped a folder.
Maker = Literal["lora-manager", "lora-api", "folder"]


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file of an adapter. `name` is safe as a file name on every system.

    `sha256` is what the archive says of it and is checked when it is copied; None where the archive
    says nothing. `mtime_ns` is when it was last changed where it came from.
    """

    member: str
    kind: FileKind
    name: str
    size: int
    sha256: str | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ArchivedRecord:
    """An adapter: its columns by name (`tables.RECORD_COLUMNS`, all of them in our own format).

    `columns` were checked: types, lengths, bounds and finite numbers as the API wants them. For the
    other makers, columns that the archive says nothing of are left out. `folder` is relative to the
    library folder, with `/`, "" at its top, each part safe as a file name. `file_path` is where the
    model file lay when a backup was made; never to be trusted, only to be compared with.
    `files` is empty where files were not asked for; the model file, if it is there, comes first.
    """

    columns: Mapping[str, Any]
    folder: str
    file_name: str
    files: tuple[ArchivedFile, ...] = ()
    file_path: str | None = None

    @property
    def model(self) -> ArchivedFile | None:
        """The model file, if the archive has it."""
        return next((file for file in self.files if file.kind == "model"), None)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A member that nothing is done with, and why."""

    member: str
    reason: str


class Archive(ABC):
    """An archive that was opened and whose structure was checked; use it in a `with`."""

    maker: Maker
    manifest: Manifest
    size_bytes: int
    #: All that will be written if everything is taken, in bytes.
    expanded_bytes: int
    ignored: Sequence[Ignored]

    @abstractmethod
    def adapters(self) -> Iterator[ArchivedRecord]:
        """Every adapter, checked; may be asked for again. Raises `ArchiveRefused`."""

    @abstractmethod
    def tables(self) -> tuple[str, ...]:
        """Names of the tables it has rows of, in the order in which they can be inserted."""

    @abstractmethod
    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows of a table, checked against its columns. Raises `ArchiveRefused`."""

    @abstractmethod
    def pictures(self) -> Mapping[tuple[str, int], ArchivedFile]:
        """The pictures of results, by job id and number; `kind` says nothing there."""

    @abstractmethod
    def members(self) -> Collection[str]:
        """The names of all members, those included that nothing is done with."""

    @abstractmethod
    def copy(self, member: str, target: Path, on_bytes: Callable[[int], None]) -> str:
        """Write a member to a new file, synced; gives its SHA-256.

        `on_bytes` is told of every piece written and may raise to stop.

        Raises:
            ArchiveRefused: size or hash differ from what the archive promised.
            OSError: it cannot be written.
        """

    @abstractmethod
    def digest(self, member: str, on_bytes: Callable[[int], None]) -> str:
        """The SHA-256 of a member, read to its end; raises and tells as `copy` does."""

    @abstractmethod
    def verify(self, on_bytes: Callable[[int], None]) -> None:
        """Read every member to its end and compare sizes and hashes. Raises `ArchiveRefused`."""

    @abstractmethod
    def close(self) -> None:
        """Give the file back."""

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

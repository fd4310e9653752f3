"""A folder of LoRA files that somebody zipped: models, and what lies beside them, as in a scan."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from lora_manager_core.common.clock import utc_now
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import (
    ArchivedFile,
    ArchivedRecord,
    Ignored,
    Maker,
)
from lora_manager_core.import_export.archive.file_kinds import (
    kind_of,
    owner_of,
    refuse_pickles,
    stem_of,
    why_ignored,
)
from lora_manager_core.import_export.archive.format import Manifest
from lora_manager_core.import_export.archive.zip_archive import ZipArchive
from lora_manager_core.import_export.archive.zip_members import ZipMembers

#: What archives of other makers have; of one that was packed again, records would get lost.
_RECORD = re.compile(r"(?:^|/)adapters/[^/]+/(?:record|metadata)\.json$")


class FolderArchive(ZipArchive):
    """A zipped folder; its records have no columns: what the files tell is found out by a scan."""

    maker: Maker = "folder"

    def __init__(self, opened: ZipMembers, allow_pickles: bool) -> None:
        super().__init__(opened)
        if any(map(_RECORD.search, opened.members)):
            raise ArchiveRefused(
                "The archive holds adapters without their manifest at its top; it was packed "
                "again, with a folder around its contents perhaps. Import it as it was made."
            )
        self._records: list[ArchivedRecord] = []
        ignored: list[Ignored] = []
        folders: defaultdict[str, list[str]] = defaultdict(list)
        for name in opened.members:
            folder = name.rpartition("/")[0]
            if _is_hidden(name):
                ignored.append(Ignored(name, "Scans pass over folders and files of its name."))
            else:
                folders[folder].append(name)
        refuse_pickles((name for names in folders.values() for name in names), allow_pickles)
        for folder, names in folders.items():
            self._add(folder, names, ignored)
        self.ignored = tuple(ignored)
        if not self._records:
            raise ArchiveRefused(
                "The archive holds no model files, and nothing else that can be imported."
                if opened.members
                else "The archive is empty."
            )
        self.expanded_bytes = sum(file.size for record in self._records for file in record.files)
        self.manifest = foreign_manifest("a folder that was zipped", len(self._records))

    def adapters(self) -> Iterator[ArchivedRecord]:
        """A record for each model file; see `Archive.adapters`."""
        yield from self._records

    def tables(self) -> tuple[str, ...]:
        """None."""
        return ()

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """None."""
        yield from ()

    def pictures(self) -> Mapping[tuple[str, int], ArchivedFile]:
        """None."""
        return {}

    def _add(self, folder: str, names: list[str], ignored: list[Ignored]) -> None:
        """The records of one folder."""
        models = [name for name in names if kind_of(name) == "model"]
        stems = {stem_of(_file_name(name)): name for name in models}
        beside: defaultdict[str, list[ArchivedFile]] = defaultdict(list)
        for name in names:
            kind, file_name = kind_of(name), _file_name(name)
            if kind == "model":
                continue
            owner = owner_of(file_name, stems)
            if kind is None or owner is None:
                why = why_ignored(name) if kind is None else "No model file beside it has its name."
                ignored.append(Ignored(name, why))
                continue
            size = self._zip.members[name].size
            beside[owner].append(ArchivedFile(name, kind, file_name, size))
        for name in models:
            file_name = _file_name(name)
            model = ArchivedFile(name, "model", file_name, self._zip.members[name].size)
            self._records.append(ArchivedRecord({}, folder, file_name, (model, *beside[name])))


def foreign_manifest(made_by: str, adapters: int) -> Manifest:
    """What stands for the manifest where an archive has none of ours."""
    return Manifest(
        id="",
        kind="export",
        created_at=utc_now(),
        created_by=made_by,
        schema="",
        contents={},
        counts={"adapters": adapters},
    )


def _file_name(name: str) -> str:
    return name.rpartition("/")[2]


def _is_hidden(name: str) -> bool:
    """What scans pass over, and what macOS adds to archives."""
    *folders, file_name = name.split("/")
    return (
        file_name.startswith("._")
        or any(folder.startswith(".") for folder in folders)
        or "__MACOSX" in folders
    )

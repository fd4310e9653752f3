"""The job that writes records into side files of other programs, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.files import write_whole
from lora_manager_core.common.paths import require_inside
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.library.chosen import chosen_rows
from lora_manager_core.library.lookups.repository import LookUps
from lora_manager_core.library.renewal import RecordRenewal
from lora_manager_core.library.side_files import MAX_SIDE_FILE_BYTES
from lora_manager_core.library.side_json import read_object
from lora_manager_core.library.side_writing.documents import FORMATS
from lora_manager_core.library.walk import FoundFile, find_files
from lora_manager_core.queueing.base import JobContext, JobProgress

#: Adapters per unit of work, and files that the result names.
_BATCH, _MOST_FILES = 50, 1000


@dataclass(slots=True)
class SideFileReport:
    """Numbers of files, and what became of the first thousand.

    `kept` were there and were not to be touched; `unchanged` say all of it already.
    """

    written: int = 0
    unchanged: int = 0
    kept: int = 0
    failed: int = 0
    files: list[dict[str, str]] = field(default_factory=list)

    def note(self, file: Path | str, outcome: str, detail: str = "") -> None:
        """Count a file."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if len(self.files) < _MOST_FILES:
            self.files.append({"file": str(file), "outcome": outcome, "detail": detail})


class SideFileJob:
    """Runs as a job; its payload is that of `schemas.SideFilesRequest`."""

    def __init__(
        self,
        database: Database,
        library_roots: Callable[[], Sequence[Path]],
        renewal: RecordRenewal,
        provider_name: str,
    ) -> None:
        self._database = database
        self._library_roots = library_roots
        self._renewal = renewal
        self._provider_name = provider_name

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Write the files; gives a `SideFileReport` as a dict. Running it again changes nothing."""
        report = SideFileReport()
        with self._database.read() as session:
            ids = [row.id for row in chosen_rows(session, context.payload, ("id",))]
        for start in range(0, len(ids), _BATCH):
            context.raise_if_cancelled()
            self._write_batch(ids[start : start + _BATCH], context.payload, report)
            done = min(start + _BATCH, len(ids))
            words = f"{report.written} files written"
            context.report(JobProgress(done / len(ids), done, len(ids), message=words))
        return asdict(report)

    def _write_batch(
        self, ids: Sequence[str], payload: Mapping[str, Any], report: SideFileReport
    ) -> None:
        with self._database.read() as session:
            adapters = Adapters(session).get_many(ids)
            look_ups = LookUps(session)
            answers = {
                adapter.id: told.answer
                for adapter in adapters
                if adapter.primary_file_sha256
                and (told := look_ups.get(self._provider_name, adapter.primary_file_sha256))
            }
        models = find_files((Path(one.file_path) for one in adapters), self._library_roots())
        touched = []
        for adapter in adapters:
            found = models.get(adapter.file_path)
            if found is None:
                report.note(adapter.file_path, "failed", "The model file is gone.")
                continue
            answer = answers.get(adapter.id)
            written = [
                self._write(adapter, found, kind, answer, payload["overwrite"], report)
                for kind in payload["formats"]
            ]
            if any(written):
                touched.append(adapter)
        rows = self._renewal.read(adapter.file_path for adapter in touched)
        with self._database.write() as session:
            fresh = AdapterWriter(session).get_many([adapter.id for adapter in touched])
            self._renewal.store(session, fresh, rows)

    def _write(
        self,
        adapter: Adapter,
        found: FoundFile,
        kind: str,
        answer: Mapping[str, Any] | None,
        overwrite: str,
        report: SideFileReport,
    ) -> bool:
        """Write one file; gives whether it did."""
        ending, document_of = FORMATS[kind]
        name = found.neighbours.get((found.stem + ending).lower())
        path = Path(found.path).with_name(name or found.stem + ending)
        if name is not None and overwrite == "never":
            report.note(path, "kept")
            return False
        try:
            require_inside(str(path), self._library_roots(), "The side file")
            existing = _read(path) if name is not None else None
            document = document_of(adapter, existing, answer)
            if document == existing:
                report.note(path, "unchanged")
                return False
            write_whole(path, orjson.dumps(document, option=orjson.OPT_INDENT_2), path.parent)
        except LoraManagerError as error:
            report.note(path, "failed", error.detail)
            return False
        except (OSError, _Unreadable) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            report.note(path, "failed", f"{why or type(error).__name__}; it was left as it is.")
            return False
        report.note(path, "written")
        return True


class _Unreadable(Exception):
    """A file of others that cannot be read, and is therefore not written over."""


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_SIDE_FILE_BYTES:
        raise _Unreadable(f"{path.name} is larger than 4 MB")
    problems: list[str] = []
    document = read_object(path.read_bytes(), path.name, problems)
    if document is None:
        raise _Unreadable(problems[-1])
    return document

"""What an export will come to: sizes from the catalogue, its duration from what was measured."""

from __future__ import annotations

import os
import statistics
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.import_export.archive.tables import TABLES
from lora_manager_core.import_export.archive.zip_writer import LEVELS
from lora_manager_core.import_export.exports.choice import Choice, date_range
from lora_manager_core.import_export.exports.estimate_repository import (
    ChosenFiles,
    EstimateRepository,
)
from lora_manager_core.import_export.exports.repository import ExportRepository, PlacedRecord
from lora_manager_core.import_export.exports.source_files import kind_of_side_file, side_names
from lora_manager_core.import_export.kinds import EXPORT_JOB
from lora_manager_core.import_export.schemas import Contents, ExportEstimate
from lora_manager_core.queueing.store import JobStore

#: How many records, rows and pictures stand for all of their kind.
_SAMPLED = 250
#: How many records are deflated, which takes a tenth of a millisecond each.
_DEFLATED = 50
#: What a ZIP says of one member, in front of it, behind it and in its directory; its name is there
#: twice, and in the manifest and among the hashes, deflated.
_PER_MEMBER = 92 + 16 + 2 * 80 + 60
_REMEMBERED = 64
_MEGABYTE = 10**6
#: Archives that are smaller tell of the start, not of the speed.
_MEASURED_FROM_BYTES = 4 * _MEGABYTE
_Item = TypeVar("_Item")


class Throughput:
    """How fast archives were streamed by this process of late."""

    def __init__(self) -> None:
        self._bytes_per_s: deque[float] = deque(maxlen=20)

    def note(self, size_bytes: int, seconds: float) -> None:
        """A stream was taken to its end."""
        if size_bytes >= _MEASURED_FROM_BYTES and seconds > 0:
            self._bytes_per_s.append(size_bytes / seconds)

    def bytes_per_s(self) -> float | None:
        """The median; None before the first."""
        measured = list(self._bytes_per_s)
        return statistics.median(measured) if measured else None


@dataclass(frozen=True, slots=True)
class _Size:
    """What a choice comes to."""

    size_bytes: int
    adapters: int
    model_files: int
    missing_files: int


class Estimates:
    """Estimates exports. What the catalogue tells is remembered until that changes."""

    def __init__(self, database: Database, throughput: Throughput) -> None:
        self._database = database
        self._throughput = throughput
        self._known: OrderedDict[object, _Size] = OrderedDict()
        self._lock = threading.Lock()

    def estimate(self, choice: Choice) -> ExportEstimate:
        """Size and duration of an export; the duration is None until one was measured."""
        with self._database.read() as session:
            adapters = self._adapters(session, choice)
            size_bytes = adapters.size_bytes + _rows_size(session, choice)
            pace = JobStore(session).pace(EXPORT_JOB)
        bytes_per_s = self._throughput.bytes_per_s()
        if bytes_per_s is None and pace:
            bytes_per_s = _MEGABYTE / pace
        duration_s = size_bytes / bytes_per_s if bytes_per_s else None
        return ExportEstimate(
            size=_size_text(size_bytes),
            time=_time_text(duration_s),
            size_bytes=size_bytes,
            duration_s=None if duration_s is None else round(duration_s, 3),
            adapters=adapters.adapters,
            model_files=adapters.model_files,
            missing_files=adapters.missing_files,
        )

    def _adapters(self, session: ReadSession, choice: Choice) -> _Size:
        if not choice.contents.loras:
            return _Size(0, 0, 0, 0)
        contents = choice.contents
        kinds = (contents.lora_files, contents.lora_metadata, contents.previews)
        key = (Adapters(session).revision(), choice.query, kinds, choice.compression)
        with self._lock:
            known = self._known.get(key) if choice.adapter_ids is None else None
        if known is None:
            known = _adapters_size(session, choice)
            if choice.adapter_ids is None:
                with self._lock:
                    self._known[key] = known
                    while len(self._known) > _REMEMBERED:
                        self._known.popitem(last=False)
        return known


def _adapters_size(session: ReadSession, choice: Choice) -> _Size:
    """Records as they deflate, model files as the last scan found them, and what is beside them."""
    repository, contents = EstimateRepository(session), choice.contents
    numbers = repository.chosen(choice.adapter_ids, choice.query)
    files = repository.files(numbers) if contents.lora_files else ChosenFiles(0, 0, 0)
    sample = list(ExportRepository(session).records_of(_spread(numbers, _SAMPLED)))
    each = _mean([_size_beside(record, contents) for record in sample])
    each += _mean([_deflated(record.columns, choice) for record in _spread(sample, _DEFLATED)])
    size = files.size_bytes + files.present * _PER_MEMBER + (each + _PER_MEMBER) * len(numbers)
    return _Size(round(size), len(numbers), files.present, files.missing)


def _size_beside(record: PlacedRecord, contents: Contents) -> int:
    """The files beside a model that were chosen, with what the ZIP says of them."""
    size = 0
    for name, size_bytes in side_names(record.side_signature):
        is_preview = kind_of_side_file(name) == "preview"
        if contents.previews if is_preview else contents.lora_metadata:
            size += size_bytes + _PER_MEMBER
    return size


def _rows_size(session: ReadSession, choice: Choice) -> int:
    """The tables and pictures that were chosen, by a sample of each."""
    repository, estimate = ExportRepository(session), EstimateRepository(session)
    dates, size = date_range(choice.contents), 0.0
    for archived in TABLES:
        if not getattr(choice.contents, archived.part):
            continue
        rows = list(islice(repository.rows(archived, archived.columns, dates), _SAMPLED))
        if rows:
            deflated = _deflated(b"\n".join(rows), choice)
            size += deflated / len(rows) * estimate.count(archived, dates)
    if choice.contents.generations and choice.contents.pictures:
        paths = [path for _, _, path in islice(repository.pictures(dates), _SAMPLED)]
        sizes = list(_sizes(paths))
        if sizes:
            each = statistics.mean(sizes) + _PER_MEMBER
            size += each * len(sizes) / len(paths) * estimate.count_pictures(dates)
    return round(size)


def _deflated(text: bytes, choice: Choice) -> int:
    level = LEVELS[choice.compression]
    return len(text) if level is None else len(zlib.compress(text, level))


def _mean(sizes: Sequence[int]) -> float:
    return statistics.fmean(sizes) if sizes else 0.0


def _sizes(paths: Iterable[str]) -> Iterator[int]:
    for path in paths:
        try:
            yield os.stat(path).st_size  # noqa: PTH116 - a text of a row
        except (OSError, ValueError):  # gone: it will be left out
            continue


def _spread(everything: Sequence[_Item], count: int) -> Sequence[_Item]:
    """About so many of them, from everywhere."""
    return everything[:: max(1, -(-len(everything) // count))]


def _size_text(size_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "not measured yet"
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"

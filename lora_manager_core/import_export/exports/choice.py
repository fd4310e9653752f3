"""What is to go into an archive, as everybody who makes one says it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.common.clock import utc_text
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.import_export.archive.format import ArchiveKind
from lora_manager_core.import_export.schemas import Compression, Contents


@dataclass(frozen=True, slots=True)
class Choice:
    """What an archive is to hold: `contents` of all adapters, or of those by id or by query.

    `only_files` are keys (`common.paths.path_key`) that model files are limited to. `with_paths`
    tells where files lay, for a restore. `with_database` adds a copy of the SQLite database, where
    there is one.
    """

    contents: Contents
    adapter_ids: Sequence[str] | None = None
    query: AdapterQuery | None = None
    only_files: frozenset[str] | None = None
    kind: ArchiveKind = "export"
    backup_type: str | None = None
    reason: str | None = None
    with_database: bool = False
    with_paths: bool = False
    compression: Compression = "balanced"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


def date_range(contents: Contents) -> tuple[str | None, str | None]:
    """First moment and end (no longer in it) that results are limited to; None: no limit.

    Raises:
        InvalidRequest: a date cannot be read, or the range is empty.
    """
    if contents.generation_range != "date_range":
        return None, None
    start = _moment(contents.date_from, "date_from", timedelta())
    end = _moment(contents.date_to, "date_to", timedelta(days=1))
    if start is None and end is None:
        raise InvalidRequest("`generation_range` is `date_range`: send `date_from` or `date_to`.")
    if start is not None and end is not None and start >= end:
        raise InvalidRequest("`date_from` is later than `date_to`; exchange them.")
    return start, end


def _moment(text: str | None, field_name: str, whole_day: timedelta) -> str | None:
    """A date (then with `whole_day` added) or time as such a text; times without zone are UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        if len(text) == len("2024-01-31"):
            moment += whole_day
        return utc_text(moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"`{field_name}` is no date such as 2024-01-31 or 2024-01-31T12:00:00Z."
        ) from error

"""What a person does with single adapters: find, add, change, activate.

Many at once, and deletions, are the work of `bulk`; `lists` shows many. Reading model files is the
library's work; it comes in as the `DescribeFile` port.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.activation import ActivationListener, nobody
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.schemas import (
    AdapterCreate,
    AdapterUpdate,
)
from lora_manager_core.adapters.values import (
    assign,
    check_name,
    check_weight_range,
    column_values,
    given_values,
)
from lora_manager_core.adapters.writer import AdapterWriter, is_untouched
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.paths import MODEL_SUFFIXES, path_key, require_inside
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database, ReadSession, WriteSession
from lora_manager_core.errors import (
    AdapterExists,
    AdapterNotFound,
    InvalidRequest,
    NotFound,
)

#: Gives the columns that a model file and its side files tell; raises OSError if it is gone.
DescribeFile = Callable[[Path], Mapping[str, Any]]


class AdapterService:
    """The catalogue as people use it."""

    def __init__(
        self,
        database: Database,
        library_roots: Callable[[], Sequence[Path]],
        describe_file: DescribeFile,
        on_activation: ActivationListener = nobody,
    ) -> None:
        self._database = database
        self._on_activation = on_activation
        self._library_roots = library_roots
        self._describe_file = describe_file

    def get(self, adapter_id: str) -> dict[str, Any]:
        """The record of one adapter."""
        with self._database.read() as session:
            return _record(session, adapter_id)

    def create(self, request: AdapterCreate) -> dict[str, Any]:
        """Add an adapter for a file of the library, or adopt the untouched one a scan made.

        Raises:
            InvalidRequest: the file is missing, unreadable, of another kind or outside the roots.
            AdapterExists: name and version are taken.
        """
        path = self._model_file(request.file_path)
        values = given_values(request, exclude={"file_path"})
        check_name(values)
        described = dict(self._describe_file(path))
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            taken = adapters.find_by_name(request.name, request.version)
            scanned = adapters.find_by_file(path_key(path))
            adopted = scanned if scanned is not None and is_untouched(scanned) else None
            if taken is not None and taken is not adopted:
                raise AdapterExists(_taken(request.name, request.version))
            adapters.include(path_key(path))
            if adopted is None:
                adapter = Adapter(
                    **{**described, **column_values(values)},
                    id=str(uuid.uuid4()),
                    created_at=utc_now(),
                    updated_at=utc_now(),
                    origin="person",
                    edited_fields=sorted(values),
                )
                adapters.add(adapter)
            else:
                adapter = adopted
                assign(adapter, values)
                adapter.origin = "person"
                adapters.save(adapter)
            return _record(session, adapter.id)

    def update(self, adapter_id: str, request: AdapterUpdate | None) -> dict[str, Any]:
        """Change fields of one adapter.

        Raises:
            InvalidRequest: nothing to change, or null for a field that may not be null.
            AdapterNotFound: no such adapter.
            AdapterExists: the new name and version are another record's.
        """
        values = given_values(request)
        if not values:
            raise InvalidRequest("The change is empty; send at least one field.")
        check_name(values)
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            adapter = _require(adapters, adapter_id)
            if "name" in values or "version" in values:
                name = values.get("name", adapter.name)
                version = values.get("version", adapter.version)
                taken = adapters.find_by_name(name, version)
                if taken is not None and taken.id != adapter.id:
                    raise AdapterExists(_taken(name, version))
            check_weight_range(adapter, values)
            was_active = adapter.active
            assign(adapter, values)
            adapters.save(adapter, retag="tags" in values)
            self._tell(session, adapter, was_active)
            return _record(session, adapter_id)

    def activate(self, adapter_id: str, active: bool, ordinal: int | None = None) -> dict[str, Any]:
        """Put an adapter into the active set (at a place) or out of it."""
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            adapter = _require(adapters, adapter_id)
            was_active, adapter.active = adapter.active, active
            if ordinal is not None:
                adapter.ordinal = ordinal
            adapters.save(adapter, retag=False)
            self._tell(session, adapter, was_active)
            return _record(session, adapter_id)

    def excluded(self) -> list[dict[str, Any]]:
        """Files whose records were deleted."""
        with self._database.read() as session:
            return [
                {"file_path": f.file_path, "name": f.name, "excluded_at": f.excluded_at}
                for f in Adapters(session).excluded()
            ]

    def restore_excluded(self, file_path: str) -> None:
        """Let the next scan list a file again; raises `NotFound` if it was not excluded."""
        with self._database.write() as session:
            if not AdapterWriter(session).include(path_key(file_path)):
                raise NotFound("That file is not excluded.")

    def _tell(self, session: WriteSession, adapter: Adapter, was_active: bool) -> None:
        if adapter.active != was_active:
            self._on_activation(session, [adapter.id], adapter.active)

    def _model_file(self, file_path: str) -> Path:
        path = require_inside(file_path, self._library_roots(), "The model file")
        if path.suffix.lower() not in MODEL_SUFFIXES:
            raise InvalidRequest(
                f"A LoRA file ends in {', '.join(MODEL_SUFFIXES)}; this one does not."
            )
        if not path.exists():
            raise InvalidRequest("The model file does not exist; check its path.")
        if not path.is_file():
            raise InvalidRequest("The model file is not a regular file.")
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise InvalidRequest(
                f"The model file cannot be read: {error.strerror or error}."
            ) from error
        return path


def _record(session: ReadSession, adapter_id: str) -> dict[str, Any]:
    record = Adapters(session).record(adapter_id)
    if record is None:
        raise AdapterNotFound(f"There is no adapter {adapter_id}.")
    return record


def _require(adapters: Adapters, adapter_id: str) -> Adapter:
    adapter = adapters.get(adapter_id)
    if adapter is None:
        raise AdapterNotFound(f"There is no adapter {adapter_id}.")
    return adapter


def _taken(name: str, version: str | None) -> str:
    suffix = f" in version “{version}”" if version else ""
    return f"There is already an adapter named “{name}”{suffix}; choose another name or version."

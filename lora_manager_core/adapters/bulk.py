"""Changes of many adapters at once, and deletions; all of them can be taken back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from lora_manager_core.adapters.activation import ActivationListener, nobody
from lora_manager_core.adapters.schemas import BulkRequest
from lora_manager_core.adapters.undo.deletions import DELETE, before_deletion
from lora_manager_core.adapters.undo.edits import EDIT, Change, change_of
from lora_manager_core.adapters.undo.recorder import UndoRecorder
from lora_manager_core.adapters.values import (
    assign,
    check_name,
    check_weight_range,
    given_values,
)
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import AdapterNotFound, InvalidRequest

#: Moves the files of adapters (by id) to the bin, under the id of an undo entry: opened around the
#: unit of work that deletes the records, and called at its end.
BinFiles = Callable[[str, Sequence[str]], AbstractContextManager[Callable[[WriteSession], None]]]

_NAMED_IDS = 100


class BulkService:
    """Many adapters as people change them; `bin_files` is the library's work."""

    def __init__(
        self,
        database: Database,
        recorder: UndoRecorder,
        bin_files: BinFiles,
        on_activation: ActivationListener = nobody,
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._bin_files = bin_files
        self._on_activation = on_activation

    def apply(self, request: BulkRequest) -> dict[str, Any]:
        """Do one thing to many adapters, all of them or none.

        Raises:
            AdapterNotFound: ids are unknown (named in `unknown_ids`) and not to be passed over.
            InvalidRequest: the action lacks what it needs.
            StorageFailed: a file cannot be moved to the bin; nothing was changed.
        """
        values = given_values(request.values) if request.values is not None else {}
        if request.action == "set" and not values:
            raise InvalidRequest("`set` needs `values` with at least one field.")
        if request.action in ("tag", "untag") and not request.tags:
            raise InvalidRequest(f"`{request.action}` needs `tags`.")
        if request.files and request.action != "delete":
            raise InvalidRequest("`files` belongs to the action `delete`; leave it out.")
        check_name(values)
        if request.action == "delete":
            ids, undo_id = self._delete(request.lora_ids, request.skip_unknown, request.files)
        else:
            ids, undo_id = self._edit(request, values)
        return {
            "success": True,
            "action": request.action,
            "processed": len(ids),
            "ids": ids,
            "undo_id": undo_id,
        }

    def delete(self, adapter_id: str, files: bool = False) -> str:
        """Take an adapter out of the catalogue; gives the id to take that back with.

        Its file stays and is not listed again; with `files` it goes to the bin, with all beside it.
        Raises as `apply` does.
        """
        _, undo_id = self._delete([adapter_id], False, files)
        assert undo_id is not None
        return undo_id

    def _delete(
        self, adapter_ids: Sequence[str], skip_unknown: bool, files: bool
    ) -> tuple[list[str], str | None]:
        undo_id = str(uuid.uuid4())
        if files:
            with self._bin_files(undo_id, adapter_ids) as bin_files:
                return self._remove(undo_id, adapter_ids, skip_unknown, bin_files)
        return self._remove(undo_id, adapter_ids, skip_unknown, None)

    def _remove(
        self,
        undo_id: str,
        adapter_ids: Sequence[str],
        skip_unknown: bool,
        bin_files: Callable[[WriteSession], None] | None,
    ) -> tuple[list[str], str | None]:
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            found = _found(adapters, adapter_ids, skip_unknown)
            if not found:
                return [], None
            files = bin_files is not None
            before = before_deletion(session, found, files)
            title = f"Deleted {_named(found)}{' with files' if files else ''}"
            self._recorder.record(session, DELETE, title, before, undo_id)
            adapters.remove(found, exclude=not files)
            if bin_files is not None:
                bin_files(session)
            return [adapter.id for adapter in found], undo_id

    def _edit(self, request: BulkRequest, values: dict[str, Any]) -> tuple[list[str], str | None]:
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            found = _found(adapters, request.lora_ids, request.skip_unknown)
            if request.action in ("activate", "deactivate"):
                changes = self._activate(session, found, request.action == "activate")
            else:
                changes = self._change(session, found, request, values)
            undo_id = None
            if changes:
                title = _title(request, values, found)
                undo_id = self._recorder.record(session, EDIT, title, {"records": changes})
            return [adapter.id for adapter in found], undo_id

    def _activate(
        self, session: WriteSession, found: Sequence[Adapter], active: bool
    ) -> list[Change]:
        changed = [adapter.id for adapter in found if adapter.active != active]
        AdapterWriter(session).set_active([adapter.id for adapter in found], active)
        self._on_activation(session, changed, active)
        return [(i, {"active": not active}, {"active": active}, []) for i in changed]

    def _change(
        self,
        session: WriteSession,
        found: Sequence[Adapter],
        request: BulkRequest,
        values: dict[str, Any],
    ) -> list[Change]:
        changes: list[Change] = []
        switched: dict[bool, list[str]] = {}
        for adapter in found:
            was_active = adapter.active
            new = _values_for(adapter, request, values)
            check_weight_range(adapter, new)
            assign(adapter, new)
            change = change_of(adapter)
            if change is not None:
                changes.append(change)
            if adapter.active != was_active:
                switched.setdefault(adapter.active, []).append(adapter.id)
        retag = request.action != "set" or "tags" in values
        AdapterWriter(session).save_many(found, retag)
        for active, ids in switched.items():
            self._on_activation(session, ids, active)
        return changes


def _found(
    adapters: AdapterWriter, adapter_ids: Sequence[str], skip_unknown: bool
) -> list[Adapter]:
    found = adapters.get_many(adapter_ids)
    unknown = sorted(set(adapter_ids) - {adapter.id for adapter in found})
    if unknown and not skip_unknown:
        raise AdapterNotFound(
            f"{len(unknown)} of the ids are unknown; nothing was changed.",
            unknown_ids=unknown[:_NAMED_IDS],
        )
    return found


def _values_for(adapter: Adapter, request: BulkRequest, values: dict[str, Any]) -> dict[str, Any]:
    if request.action == "tag":
        return {"tags": [*adapter.tags, *(request.tags or ())]}
    if request.action == "untag":
        gone = {tag.casefold() for tag in request.tags or ()}
        return {"tags": [tag for tag in adapter.tags if tag.casefold() not in gone]}
    return values


def _title(request: BulkRequest, values: dict[str, Any], found: Sequence[Adapter]) -> str:
    named = _named(found)
    if request.action in ("tag", "untag"):
        return f"{request.action.capitalize()}ged {named}: {', '.join(request.tags or ())}"[:500]
    if request.action == "set":
        return f"Changed {', '.join(sorted(values))} of {named}"
    return f"{request.action.capitalize()}d {named}"


def _named(found: Sequence[Adapter]) -> str:
    return f"“{found[0].name}”" if len(found) == 1 else f"{len(found)} adapters"

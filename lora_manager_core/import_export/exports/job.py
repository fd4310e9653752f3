"""The job of an export in the background: an archive in the folder of exports."""

from __future__ import annotations

import os
from typing import Any

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.schemas import ListQuery
from lora_manager_core.common.storage import storage_errors
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.import_export.exports.archive_writer import ArchiveWriter
from lora_manager_core.import_export.exports.choice import Choice, date_range
from lora_manager_core.import_export.exports.folder import ExportFolder
from lora_manager_core.import_export.schemas import Contents, ExportRequest
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import JobContext, JobOutcome


class ExportJob:
    """Makes an export; begins anew when it is run again."""

    def __init__(self, writer: ArchiveWriter, folder: ExportFolder, secrets: Secrets) -> None:
        self._writer = writer
        self._folder = folder
        self._secrets = secrets

    def run(self, context: JobContext) -> JobOutcome:
        """The handler.

        Raises:
            DiskFull: it would not fit, or did not.
            StorageFailed: a file changed meanwhile, or cannot be read or written.
        """
        with self._secrets.used(context.payload["secret"]) as password:
            request = ExportRequest.model_validate(context.payload["request"])
            choice = choice_of(request, context.job_id)
            with self._folder.writing(context.job_id) as part:
                with storage_errors(part), part.open("wb") as file:
                    written = self._writer.write(choice, file, context, password, self._folder.path)
                    file.flush()
                    os.fsync(file.fileno())
                # By the time it was asked for: an attempt after a crash gives it the same name.
                asked_at, encrypted = context.payload["asked_at"], password is not None
                export = self._folder.publish(part, context.job_id, asked_at, encrypted)
        result = {
            "export_id": export.id,
            "file_name": export.file_name,
            "size": export.size,
            "counts": dict(written.manifest.counts),
            "left_out": written.left_out_count,
        }
        return JobOutcome(result, undo=lambda: export.path.unlink(missing_ok=True))


def payload_of(request: ExportRequest, asked_at: str, secret: str | None) -> dict[str, Any]:
    """What the job is given; the password is where `secret` says."""
    asked = request.model_dump(exclude={"password", "background"}, exclude_defaults=True)
    return {"request": asked, "asked_at": asked_at, "secret": secret}


def choice_of(request: ExportRequest, export_id: str) -> Choice:
    """What a request asks for.

    Raises:
        InvalidRequest: it asks for nothing, for both ids and a filter, or for no range of dates.
    """
    contents = Contents.model_validate(request.model_dump(include=set(Contents.model_fields)))
    date_range(contents)
    if request.adapter_ids is not None and request.filter is not None:
        raise InvalidRequest("Choose adapters by `adapter_ids` or by `filter`, not by both.")
    has_adapters = contents.loras and request.adapter_ids != []
    parts = (contents.generations, contents.user_data, contents.system_config, contents.analytics)
    if not has_adapters and not any(parts):
        raise InvalidRequest(
            "Nothing is chosen; set one of `loras`, `generations`, `user_data`, `system_config` "
            "and `analytics` to true."
        )
    query = None
    if request.filter is not None:
        # Of the filter only what chooses: neither a page of it nor an order.
        query = AdapterQuery.from_request(ListQuery.model_validate(request.filter)).filter_key
    return Choice(
        contents,
        adapter_ids=request.adapter_ids,
        query=query,
        compression=request.compression,
        id=export_id,
    )

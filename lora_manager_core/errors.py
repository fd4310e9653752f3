"""Every failure a caller can be told of, with its HTTP status and its stable `code`.

    LoraManagerError                      500 internal_error
    ├── InvalidRequest                    400 invalid_request
    │   ├── UnsafePath                    400 path_outside_roots
    │   └── ArchiveRefused                400 archive_refused
    │       ├── PasswordNeeded            400 password_needed
    │       └── WrongPassword             400 wrong_password
    ├── NotAuthenticated                  401 not_authenticated
    ├── NotAllowed                        403 not_allowed
    ├── NotFound                          404 not_found
    │   ├── AdapterNotFound               404 adapter_not_found
    │   ├── JobNotFound                   404 job_not_found
    │   │   └── DeliveryNotFound          404 delivery_not_found
    │   ├── ResultNotFound                404 result_not_found
    │   ├── UndoNotFound                  404 undo_not_found
    │   ├── ExportNotFound                404 export_not_found
    │   ├── SessionNotFound               404 session_not_found
    │   ├── CollectionNotFound            404 collection_not_found
    │   ├── StackNotFound                 404 stack_not_found
    │   └── BackupNotFound                404 backup_not_found
    ├── Conflict                          409 conflict
    │   ├── AdapterExists                 409 adapter_exists
    │   ├── NameTaken                     409 name_taken
    │   ├── ImportConflicts               409 import_conflicts
    │   ├── LibraryChanged                409 library_changed
    │   ├── UndoConflict                  409 undo_conflict
    │   ├── LookUpsOff                    409 look_ups_off
    │   ├── JobAlreadyFinished            409 job_already_finished
    │   └── NothingToRetry                409 nothing_to_retry
    ├── WrongMediaType                    415 unsupported_media_type
    ├── Unprocessable                     422 unprocessable
    │   ├── IdempotencyKeyReused          422 idempotency_key_reused
    │   └── TargetNotAllowed              422 target_not_allowed
    ├── BackendUnavailable                424 backend_unavailable
    │   ├── BackendLoginRefused           424 backend_login_refused
    │   ├── ExtraNotInstalled             424 extra_not_installed
    │   ├── EmbeddingUnavailable          424 embedding_unavailable
    │   └── TargetUnavailable             424 target_unavailable
    ├── DeliveryFailed                    500 delivery_failed
    ├── GenerationFailed                  500 generation_failed
    ├── SettingsConflict                  500 settings_conflict
    ├── StorageFailed                     500 storage_failed
    │   └── DiskFull                      507 disk_full
    ├── OutOfMemory                       503 out_of_memory
    └── Busy                              503 busy

A message is written for the person who reads it: what is wrong, then what to do. It never holds SQL
or a trace. What a job raises beyond this tree is a defect and is logged as one.
"""

from __future__ import annotations

from typing import Any


class LoraManagerError(Exception):
    """The root: `detail` is for people, `extra` becomes further members of the problem document."""

    status = 500
    code = "internal_error"
    title = "Internal error"
    #: Whether the same work may succeed later without anybody changing anything: jobs that end so
    #: are tried again, with growing pauses.
    may_pass = False

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class InvalidRequest(LoraManagerError):
    """Understood, but meaningless as it stands."""

    status = 400
    code = "invalid_request"
    title = "Invalid request"


class UnsafePath(InvalidRequest):
    """A path from outside that does not lie inside an allowed root."""

    code = "path_outside_roots"
    title = "Path not allowed"


class ArchiveRefused(InvalidRequest):
    """An archive that is damaged, of an unknown kind, or not safe to unpack; nothing was done."""

    code = "archive_refused"
    title = "Archive refused"


class PasswordNeeded(ArchiveRefused):
    """The archive is encrypted and no password was given."""

    code = "password_needed"


class WrongPassword(ArchiveRefused):
    """The password does not open the archive."""

    code = "wrong_password"


class NotAuthenticated(LoraManagerError):
    """No valid credentials came with the request."""

    status = 401
    code = "not_authenticated"
    title = "Not authenticated"


class NotAllowed(LoraManagerError):
    """The caller is known or local, but this request may not come from where it comes."""

    status = 403
    code = "not_allowed"
    title = "Not allowed"


class NotFound(LoraManagerError):
    """There is nothing under that id."""

    status = 404
    code = "not_found"
    title = "Not found"


class AdapterNotFound(NotFound):
    """No adapter has that id."""

    code = "adapter_not_found"


class JobNotFound(NotFound):
    """No job has that id."""

    code = "job_not_found"


class DeliveryNotFound(JobNotFound):
    """No delivery has that id."""

    code = "delivery_not_found"


class ResultNotFound(NotFound):
    """No finished job that left pictures has that id, or the picture is gone."""

    code = "result_not_found"


class ExportNotFound(NotFound):
    """No finished export has that id, or its file is gone."""

    code = "export_not_found"


class SessionNotFound(NotFound):
    """A recommendation session nobody was given, or that was thrown away since."""

    code = "session_not_found"
    title = "Recommendation session not found"


class UndoNotFound(NotFound):
    """No change that could be taken back has that id; it may have been too long ago."""

    code = "undo_not_found"


class BackupNotFound(NotFound):
    """No backup has that id."""

    code = "backup_not_found"


class CollectionNotFound(NotFound):
    """No collection has that id."""

    code = "collection_not_found"


class StackNotFound(NotFound):
    """No stack has that id."""

    code = "stack_not_found"


class Conflict(LoraManagerError):
    """The request contradicts what is stored."""

    status = 409
    code = "conflict"
    title = "Conflict"


class AdapterExists(Conflict):
    """Name and version, or the file, already belong to a record."""

    code = "adapter_exists"


class NameTaken(Conflict):
    """Another collection, or stack, has that name."""

    code = "name_taken"


class ImportConflicts(Conflict):
    """An archive meets other data of the same name and was told to ask; nothing was imported."""

    code = "import_conflicts"


class LibraryChanged(Conflict):
    """What was planned no longer fits the library, which changed meanwhile; nothing was done."""

    code = "library_changed"
    may_pass = True


class UndoConflict(Conflict):
    """A change cannot be taken back as things are now; nothing was done."""

    code = "undo_conflict"


class LookUpsOff(Conflict):
    """Providers are not to be asked, says the setting."""

    code = "look_ups_off"


class JobAlreadyFinished(Conflict):
    """The job has ended; it can no longer be cancelled."""

    code = "job_already_finished"


class NothingToRetry(Conflict):
    """The delivery has not ended, or it succeeded."""

    code = "nothing_to_retry"


class WrongMediaType(LoraManagerError):
    """A file of a kind that is not taken here."""

    status = 415
    code = "unsupported_media_type"
    title = "Wrong media type"


class Unprocessable(LoraManagerError):
    """A value that the schema lets through and the domain does not."""

    status = 422
    code = "unprocessable"
    title = "Unprocessable request"


class IdempotencyKeyReused(Unprocessable):
    """The key belongs to another request."""

    code = "idempotency_key_reused"


class TargetNotAllowed(Unprocessable):
    """A delivery to a place that is not on the allow-list."""

    code = "target_not_allowed"


class BackendUnavailable(LoraManagerError):
    """A part this request needs cannot be reached or is not ready."""

    status = 424
    code = "backend_unavailable"
    title = "Backend not available"
    may_pass = True


class BackendLoginRefused(BackendUnavailable):
    """The backend answered, and refused our credentials."""

    code = "backend_login_refused"
    may_pass = False


class ExtraNotInstalled(BackendUnavailable):
    """An optional library is missing; the message names the extra to install."""

    code = "extra_not_installed"
    may_pass = False


class EmbeddingUnavailable(BackendUnavailable):
    """A text embedding model that cannot be loaded, or ran out of memory."""

    code = "embedding_unavailable"
    title = "Text embeddings unavailable"


class TargetUnavailable(BackendUnavailable):
    """The target of a delivery cannot be reached, or says that it is busy."""

    code = "target_unavailable"
    title = "Target not available"


class DeliveryFailed(LoraManagerError):
    """The prompt could not be handed over."""

    code = "delivery_failed"
    title = "Delivery failed"


class GenerationFailed(LoraManagerError):
    """The backend took the job and could not finish it."""

    status = 500
    code = "generation_failed"
    title = "Generation failed"


class SettingsConflict(LoraManagerError):
    """Settings that cannot hold, alone or together; the message says which one to change."""

    code = "settings_conflict"
    title = "Settings conflict"


class StorageFailed(LoraManagerError):
    """Files could not be written, moved or read where they have to be."""

    code = "storage_failed"
    title = "Storage failed"


class DiskFull(StorageFailed):
    """There is not enough room on the disk; the message says how much is needed."""

    status = 507
    code = "disk_full"
    title = "Disk full"


class OutOfMemory(LoraManagerError):
    """The device has too little memory for this picture."""

    status = 503
    code = "out_of_memory"
    title = "Out of memory"


class Busy(LoraManagerError):
    """Too much at once, or still starting; the same request may pass later."""

    status = 503
    code = "busy"
    title = "Busy"
    may_pass = True

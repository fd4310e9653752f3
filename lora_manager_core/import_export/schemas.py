"""What goes in and out of the archive routes; the descriptions here become the API document.

Field names of the base requests are those that existing clients of this API family send.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lora_manager_core.adapters.schemas import ListQuery
from lora_manager_core.common.schema import RequestModel

AdapterId = Annotated[str, Field(max_length=100)]
Password = Annotated[str, Field(min_length=1, max_length=1000)]
Compression = Literal["none", "fast", "balanced", "maximum"]
BackupType = Literal["full", "quick"]
Rule = Literal["skip", "replace", "rename", "merge", "ask"]
#: What clients of this API family call the rules.
_RULE_NAMES = {"keep_existing": "skip", "keep": "skip", "overwrite": "replace"}
_MODE_NAMES = {"dryrun": "dry-run", "dry_run": "dry-run", "preview": "dry-run"}


class Contents(RequestModel):
    """What an archive holds. Defaults: the adapters with all that belongs to them."""

    loras: bool = Field(True, description="Adapters: everything people wrote of them.")
    lora_files: bool = Field(True, description="With their model files.")
    lora_metadata: bool = Field(
        True, description="With the side files beside the models (`.json`, `.civitai.info`, …)."
    )
    previews: bool = Field(True, description="With their preview pictures and clips.")
    lora_embeddings: bool = Field(
        False, description="No effect: embeddings are made anew from what is imported."
    )
    generations: bool = Field(False, description="Results with their pictures, and deliveries.")
    pictures: bool = Field(True, description="With the pictures of results; else only their data.")
    generation_range: Literal["all", "date_range"] = "all"
    date_from: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="RFC 3339 date or time; of results, with `date_range`."
    )
    date_to: Annotated[str, Field(max_length=40)] | None = None
    user_data: bool = Field(False, description="Choices made in the page, and files taken out.")
    system_config: bool = Field(
        False, description="The settings in force, without secrets; to read, never restored."
    )
    analytics: bool = Field(False, description="The runs that usage is counted from.")


class ExportRequest(Contents):
    """An export. Without `adapter_ids` and `filter`: all adapters."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"loras": True, "lora_files": True, "format": "zip"}}
    )

    adapter_ids: Annotated[list[AdapterId], Field(max_length=100_000)] | None = Field(
        None, description="Only these; an unknown id fails the call."
    )
    filter: dict[str, Any] | None = Field(
        None, description="Only what `GET /adapters` lists with these parameters, all pages of it."
    )
    format: Annotated[str, Field(max_length=20)] = Field("zip", description="Only `zip`.")
    compression: Compression = Field(
        "balanced", description="Of texts; model files and pictures are stored as they are."
    )
    split_archives: bool = Field(False, description="Not supported: a ZIP64 has no size limit.")
    max_size_mb: Annotated[int, Field(ge=1, le=10**9)] = Field(1024, description="No effect.")
    encrypt: bool = Field(False, description="AES-256, to be opened with `password`.")
    password: Password | None = None
    background: bool = Field(
        False, description="Make it as a job, to be downloaded (and resumed) from `/exports`."
    )

    @field_validator("filter")
    @classmethod
    def _known_filter(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            unknown = sorted(set(value) - set(ListQuery.model_fields))
            if unknown:
                raise ValueError(f"`GET /adapters` has no parameter {', '.join(unknown)}")
            ListQuery.model_validate(value)
        return value


class ExportEstimate(BaseModel):
    """What an export will come to; `duration_s` is null until an export was measured here."""

    size: str = Field(description="For people.")
    time: str = Field(description="For people.")
    size_bytes: int
    duration_s: float | None
    adapters: int
    model_files: int
    missing_files: int = Field(description="Chosen model files that are not there.")


class ImportConfig(RequestModel):
    """How an import is to be done; the `config` part of the upload, as JSON."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"mode": "dry-run", "conflict_resolution": "ask"}}
    )

    mode: Literal["merge", "dry-run"] = Field(
        "merge", description="`dry-run` plans everything and changes nothing."
    )
    conflict_resolution: Rule = Field(
        "ask",
        description="What to do where an archive meets other data of the same name: `skip` keeps "
        "what is here, `replace` takes the archive's, `rename` keeps both, `merge` fills what is "
        "empty here, `ask` lists the conflicts and imports nothing of that archive.",
    )
    rules: dict[Literal["adapters", "files", "results", "choices"], Rule] = Field(
        default_factory=dict, description="Another rule for one kind."
    )
    decisions: dict[Annotated[str, Field(max_length=1000)], Rule] = Field(
        default_factory=dict,
        description="A rule for one conflict, by the `key` it was listed with.",
    )
    validate_archive: bool = Field(
        True,
        alias="validate",
        description="Read the whole archive before anything is written. What is written is "
        "checked in any case.",
    )
    backup_before: bool = Field(
        True, description="A backup of the present first, with the files that would be replaced."
    )
    password: Password | None = None
    target: Annotated[str, Field(max_length=4096)] | None = Field(
        None, description="Folder for model files, in a library folder; default: the import path."
    )
    allow_pickles: bool = Field(
        False, description="Take `.pt` and `.ckpt` files, too. They are stored, never opened here."
    )
    background: bool = Field(False, description="Answer with the ids of the jobs at once.")

    @field_validator("mode", mode="before")
    @classmethod
    def _known_mode(cls, value: Any) -> Any:
        return _MODE_NAMES.get(value, value) if isinstance(value, str) else value

    @field_validator("conflict_resolution", mode="before")
    @classmethod
    def _known_rule(cls, value: Any) -> Any:
        return _RULE_NAMES.get(value, value) if isinstance(value, str) else value


class ImportedAdapter(BaseModel):
    """What becomes of one adapter of an archive."""

    id: str = Field(description="Under which it is known here.")
    name: str
    status: Literal["created", "updated", "unchanged", "skipped"]
    file_path: str | None = Field(None, description="Where its model file is, or will be.")
    note: str | None = None


class ImportConflict(BaseModel):
    """Where an archive meets other data of the same name."""

    key: str = Field(description="For `decisions`.")
    kind: Literal["adapters", "files", "results", "choices"]
    name: str
    problem: str
    rule: Rule = Field(description="What is done, or `ask`.")
    differs: list[str] = Field(default_factory=list, description="Fields that are not the same.")


class IgnoredMember(BaseModel):
    """A member that nothing is done with."""

    member: str
    reason: str


class ImportResult(BaseModel):
    """What became of one uploaded file. Lists are cut at 1,000 entries; the counts are not."""

    file: str
    status: Literal["validated", "imported", "conflicts", "error", "queued"]
    detail: str | None = Field(None, description="Of an error: what is wrong and what to do.")
    code: str | None = None
    job_id: str | None = None
    maker: Literal["lora-manager", "lora-api", "folder"] | None = None
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    files_written: int = 0
    bytes_written: int = 0
    adapters: list[ImportedAdapter] = Field(default_factory=list)
    conflict_count: int = 0
    conflicts: list[ImportConflict] = Field(default_factory=list)
    ignored_count: int = 0
    ignored: list[IgnoredMember] = Field(default_factory=list)
    tables: dict[str, int] = Field(default_factory=dict, description="Rows taken, by table.")
    backup_id: str | None = Field(None, description="The backup that was made before.")


class ImportAnswer(BaseModel):
    """What became of an upload."""

    success: bool
    processed_files: int
    total_files: int
    results: list[ImportResult]


class JobStarted(BaseModel):
    """A job that was begun; the feed and `/import-export/jobs/{id}` tell how far it is."""

    job_id: str
    status: str


class ArchiveJob(BaseModel):
    """An export, import, backup or restore, as a job."""

    id: str
    kind: str
    status: str
    progress: float
    message: str | None
    eta_s: float | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class ExportFile(BaseModel):
    """A finished export that waits to be downloaded."""

    id: str
    created_at: str
    size: int
    file_name: str
    encrypted: bool
    url: str


class BackupRequest(RequestModel):
    """A backup to be made."""

    model_config = ConfigDict(json_schema_extra={"example": {"backup_type": "quick"}})

    backup_type: BackupType = Field(
        "full", description="`full`: with model files and pictures; `quick`: all that people wrote."
    )
    encrypt: bool = False
    password: Password | None = None
    background: bool = Field(False, description="Answer at once; the backup is a job.")


class Backup(BaseModel):
    """One backup of the history, newest first."""

    id: str
    created_at: str
    type: BackupType
    reason: str = Field(description="`by hand`, `schedule`, `before import`, `before restore`.")
    status: Literal["completed", "running", "failed"]
    size: int | None = None
    file_name: str | None = None
    encrypted: bool = False
    counts: dict[str, int] = Field(default_factory=dict)
    detail: str | None = Field(None, description="Why it failed, or what was left out.")
    job_id: str | None = None
    url: str | None = Field(None, description="Where it can be downloaded, ranges and all.")


class BackupCreated(BaseModel):
    """The answer to a backup that was made, or begun with `background`."""

    success: bool
    backup_id: str
    type: BackupType
    status: str
    size: int | None
    created_at: str
    job_id: str


class VerifyRequest(RequestModel):
    """What is needed to read an encrypted backup."""

    password: Password | None = None


class Verification(BaseModel):
    """Whether an archive holds what it says, byte by byte."""

    ok: bool
    problem: str | None
    members: int
    bytes_read: int
    duration_s: float


class BackupRestoreRequest(RequestModel):
    """How a backup is restored."""

    password: Password | None = None
    backup_before: bool = Field(True, description="A backup of the present first.")
    files: bool = Field(
        True, description="Put back model files that are missing or differ, if the backup has them."
    )
    background: bool = Field(False, description="Answer at once; the restore is a job.")


class RestoreAnswer(BaseModel):
    """What a restore did."""

    success: bool
    job_id: str
    status: str
    adapters: int = 0
    files_written: int = 0
    tables: dict[str, int] = Field(default_factory=dict)
    backup_id: str | None = Field(None, description="The backup of what was there before.")
    notes: list[str] = Field(default_factory=list)


class BackupSchedule(RequestModel):
    """When backups are made by themselves, and how many of those are kept."""

    every_h: Annotated[float, Field(ge=0, le=8760)] = Field(
        24.0, description="Hours from one to the next; 0 for none."
    )
    keep: Annotated[int, Field(ge=1, le=1000)] = Field(7, description="Older ones are removed.")
    backup_type: BackupType = "quick"


class BackupScheduleAnswer(BaseModel):
    """The schedule in force."""

    every_h: float
    keep: int
    backup_type: BackupType
    next_at: str | None

"""The commands on archives: `lora-manager backup | restore | verify | export | import`.

Each runs its job in this process, beside a server on the same database if there is one. Results go
to the standard output; progress, on a terminal, and what went wrong to the standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from lora_manager_core.bootstrap import Application, build_application
from lora_manager_core.cli_jobs import ended, scanned, started, told
from lora_manager_core.cli_passwords import PASSWORD_VARIABLE, new_password, password_of
from lora_manager_core.errors import (
    ArchiveRefused,
    InvalidRequest,
    LoraManagerError,
    StorageFailed,
)
from lora_manager_core.import_export.backups.restoring import RestoreService
from lora_manager_core.import_export.backups.service import BackupService
from lora_manager_core.import_export.exports.service import ExportService
from lora_manager_core.import_export.imports.service import ImportService
from lora_manager_core.import_export.schemas import (
    BackupRequest,
    BackupRestoreRequest,
    ExportRequest,
    ImportConfig,
    ImportResult,
    Rule,
)
from lora_manager_core.settings import Settings

LATEST = "latest"

_Request = TypeVar("_Request")


def backup(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make a backup and say where it is."""
    password = new_password(arguments)
    request = BackupRequest(
        backup_type=arguments.type,
        encrypt=password is not None,
        password=password,
        background=True,
    )
    with started(settings) as application:
        backups = application.services.get(BackupService)
        with told(application):
            job = ended(application, backups.create(request).job_id)
        print(backups.file(job.id))
    result = job.result or {}
    print(f"{_size(result['size'])}: {_counted(result['counts'])}.", file=sys.stderr)
    if not result["counts"].get("adapters"):
        print(
            f"The data folder {settings.data_dir} knows no adapters. If that is not the one of "
            "your server, name it with --data-dir.",
            file=sys.stderr,
        )
    if result["left_out"]:
        print(f"{result['left_out']} files could not be put in.", file=sys.stderr)
    return 0


def restore(settings: Settings, arguments: argparse.Namespace) -> int:
    """Put back what a backup holds."""
    with started(settings) as application:
        services = application.services
        path = _found(services.get(BackupService), arguments.backup)
        request = BackupRestoreRequest(
            password=password_of(path, arguments),
            backup_before=not arguments.no_backup,
            files=not arguments.no_files,
            background=True,
        )
        with told(application):
            answer = services.get(RestoreService).restore_file(path, request)
            job = ended(application, answer.job_id)
            scanned(application)
    result = job.result or {}
    print(f"Restored {result['adapters']} adapters; {result['files_written']} files written.")
    if result["backup_id"]:
        print(f"What was there before is the backup {result['backup_id']}.")
    for note in result["notes"]:
        print(note, file=sys.stderr)
    return 0


def verify(settings: Settings, arguments: argparse.Namespace) -> int:
    """Read every byte of a backup or another archive and say whether it is whole."""
    application = build_application(settings)
    application.database.upgrade()
    try:
        backups = application.services.get(BackupService)
        path = _found(backups, arguments.backup)
        found = backups.verify_file(path, password_of(path, arguments))
    finally:
        application.stop()
    if not found.ok:
        print(f"{path}: {found.problem}", file=sys.stderr)
        return 1
    print(f"{path}: {found.members} members, {_size(found.bytes_read)}, all as they were written.")
    return 0


def export(settings: Settings, arguments: argparse.Namespace) -> int:
    """Write an archive of adapters, and of more if asked."""
    target: Path = arguments.file
    if target.exists() and not arguments.overwrite:
        print(f"{target} is there already; use --overwrite to replace it.", file=sys.stderr)
        return 2
    password = new_password(arguments)
    request = _checked(
        ExportRequest,
        adapter_ids=arguments.ids,
        lora_files=not arguments.no_files,
        previews=not arguments.no_previews,
        generations=arguments.results or arguments.all,
        user_data=arguments.all,
        system_config=arguments.all,
        analytics=arguments.all,
        encrypt=password is not None,
        password=password,
    )
    with started(settings) as application, told(application):
        stream = application.services.get(ExportService).stream(request)
        part = target.with_name(f"{target.name}.part")
        try:
            with part.open("wb") as file:
                for piece in stream:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except OSError as error:
            raise StorageFailed(f"{target} cannot be written: {error.strerror}.") from error
        finally:
            stream.close()
            with suppress(OSError):
                part.unlink(missing_ok=True)
    print(f"{target}: {_size(target.stat().st_size)}")
    return 0


def import_(settings: Settings, arguments: argparse.Namespace) -> int:
    """Take archives in, one after the other; one that fails stops no other."""
    with started(settings) as application:
        results = [_take_in(application, path, arguments) for path in arguments.files]
        scanned(application)
    return 1 if any(result.status in ("error", "conflicts") for result in results) else 0


def _take_in(application: Application, path: Path, arguments: argparse.Namespace) -> ImportResult:
    try:
        config = _checked(
            ImportConfig,
            mode="dry-run" if arguments.dry_run else "merge",
            conflict_resolution=arguments.on_conflict,
            backup_before=not arguments.no_backup,
            password=password_of(path, arguments),
            target=None if arguments.target is None else str(arguments.target.absolute()),
            allow_pickles=arguments.allow_pickles,
            background=True,
        )
        with told(application):
            begun = application.services.get(ImportService).take_file(path, config)
            if begun.job_id is None:
                raise ArchiveRefused(begun.detail or "The import could not be begun.")
            job = ended(application, begun.job_id)
        result = ImportResult.model_validate({"file": path.name, **(job.result or {})})
    except LoraManagerError as error:
        result = ImportResult(file=path.name, status="error", detail=error.detail, code=error.code)
    _print_result(result)
    return result


def _print_result(result: ImportResult) -> None:
    if result.status == "error":
        print(f"{result.file}: {result.detail}", file=sys.stderr)
        return
    if result.status == "conflicts":
        print(
            f"{result.file}: nothing was imported. Choose with --on-conflict what to do where it "
            "meets what is here:",
            file=sys.stderr,
        )
    for conflict in result.conflicts:
        print(f"  {conflict.name}: {conflict.problem} ({conflict.rule})", file=sys.stderr)
    if result.status != "conflicts":
        would = "would be " if result.status == "validated" else ""
        print(
            f"{result.file}: {result.created} adapters {would}created, {result.updated} updated, "
            f"{result.unchanged} unchanged, {result.skipped} skipped; {result.files_written} files "
            f"{would}written."
        )
    for ignored in result.ignored:
        print(f"  {ignored.member}: {ignored.reason}", file=sys.stderr)


def _found(backups: BackupService, named: str) -> Path:
    """The archive that is meant: a file, `latest`, or an id of the history.

    Raises:
        BackupNotFound: none of these.
    """
    path = Path(named)
    if path.is_file():
        return path
    return backups.latest() if named == LATEST else backups.file(named)


def _checked(schema: Callable[..., _Request], **fields: Any) -> _Request:
    """A request made of arguments; raises `InvalidRequest` where the API would refuse it."""
    try:
        return schema(**fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise InvalidRequest(problems) from error


def _counted(counts: dict[str, int]) -> str:
    wanted = ("adapters", "model_files", "pictures", "results")
    return ", ".join(f"{counts.get(name, 0)} {name.replace('_', ' ')}" for name in wanted)


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add them to the parser of the command line."""
    secret = argparse.ArgumentParser(add_help=False)
    secret.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"file with the archive's password (else {PASSWORD_VARIABLE}, else it is asked for)",
    )
    new = argparse.ArgumentParser(add_help=False, parents=[secret])
    new.add_argument("--encrypt", action="store_true", help="AES-256, opened with a password")

    made = commands.add_parser(
        "backup", parents=[common, new], allow_abbrev=False, help="make a backup"
    )
    made.add_argument(
        "--type",
        choices=("full", "quick"),
        default="full",
        help="with model files and pictures, or only what people wrote (full)",
    )
    made.set_defaults(run=backup)

    which = f"id of a backup, a file, or `{LATEST}`"
    back = commands.add_parser(
        "restore", parents=[common, secret], allow_abbrev=False, help="restore a backup"
    )
    back.add_argument("backup", help=which)
    back.add_argument("--no-files", action="store_true", help="leave model files as they are")
    back.add_argument("--no-backup", action="store_true", help="do not keep the present first")
    back.set_defaults(run=restore)

    checked = commands.add_parser(
        "verify", parents=[common, secret], allow_abbrev=False, help="check a backup"
    )
    checked.add_argument("backup", help=which)
    checked.set_defaults(run=verify)

    out = commands.add_parser(
        "export", parents=[common, new], allow_abbrev=False, help="write an archive"
    )
    out.add_argument("file", type=Path, help="where to, such as loras.zip")
    out.add_argument("--ids", nargs="+", metavar="ID", help="only these adapters")
    out.add_argument("--no-files", action="store_true", help="without model files")
    out.add_argument("--no-previews", action="store_true", help="without preview pictures")
    out.add_argument("--results", action="store_true", help="with results and their pictures")
    out.add_argument("--all", action="store_true", help="with everything that people wrote")
    out.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    out.set_defaults(run=export)

    taken = commands.add_parser(
        "import", parents=[common, secret], allow_abbrev=False, help="take archives in"
    )
    taken.add_argument("files", type=Path, nargs="+", metavar="FILE")
    taken.add_argument("--dry-run", action="store_true", help="only say what would be done")
    taken.add_argument(
        "--on-conflict",
        choices=get_args(Rule),
        default="ask",
        metavar="RULE",
        help=f"{', '.join(get_args(Rule))} (ask: say what they are, and import nothing)",
    )
    taken.add_argument("--target", type=Path, metavar="DIR", help="folder for model files")
    taken.add_argument("--no-backup", action="store_true", help="do not keep the present first")
    taken.add_argument("--allow-pickles", action="store_true", help="take .pt and .ckpt files, too")
    taken.set_defaults(run=import_)

"""Opens archives, whoever made them, and refuses what cannot be trusted before anything is done.

Checked in this order: the structure of the ZIP (`zip_structure`), the password, who made it, and
then what that maker promises. Contents are checked as they are read.
"""

from __future__ import annotations

from pathlib import Path

from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.folder_format import FolderArchive
from lora_manager_core.import_export.archive.format import FORMAT, MANIFEST
from lora_manager_core.import_export.archive.lora_api_format import LoraApiArchive
from lora_manager_core.import_export.archive.own_format import OwnArchive
from lora_manager_core.import_export.archive.own_manifest import manifest_limit
from lora_manager_core.import_export.archive.zip_members import ZipMembers


def open_archive(
    path: Path, password: str | None = None, *, allow_pickles: bool = False
) -> Archive:
    """The archive in that file; close it.

    With `allow_pickles`, `.pt` and `.ckpt` files are taken as well, and of our own archives damaged
    `.safetensors` files: a backup brings back what there was. They are copied, never opened.

    Raises:
        ArchiveRefused: the file is no archive, is damaged or unsafe, holds nothing that can be
            imported, or was made by a newer version; the message says what is wrong.
        PasswordNeeded: it is encrypted and no password was given.
        WrongPassword: the password does not open it.
        ExtraNotInstalled: it is encrypted and the library for that is missing.
        OSError: the file cannot be read.
    """
    opened = ZipMembers(path, password)
    try:
        return _by_maker(opened, allow_pickles)
    except BaseException:
        opened.close()
        raise


def _by_maker(opened: ZipMembers, allow_pickles: bool) -> Archive:
    if MANIFEST not in opened.members:
        return FolderArchive(opened, allow_pickles)
    document = opened.read_json(MANIFEST, manifest_limit(opened))
    if isinstance(document, dict) and document.get("format") == FORMAT:
        return OwnArchive(opened, document, allow_pickles)
    if isinstance(document, dict) and isinstance(document.get("adapters"), list):
        return LoraApiArchive(opened, document, allow_pickles)
    return FolderArchive(opened, allow_pickles)

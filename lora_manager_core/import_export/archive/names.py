"""Names of members: an archive in which one could lead elsewhere, on any system, is refused."""

from __future__ import annotations

from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.library.files.names import shown, why_unsafe


def check_member_name(raw: str) -> str:
    """The name of a member, if it is safe on every system; one `/` may end it (a folder).

    Raises:
        ArchiveRefused: it could lead outside, or could not be written everywhere as it is.
    """
    why = why_unsafe(raw)
    if why:
        raise ArchiveRefused(f"The archive is refused: its member “{shown(raw)}” {why}.")
    return raw

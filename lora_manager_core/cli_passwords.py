"""Passwords of archives on the command line: from a file, the environment, or asked for."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from lora_manager_core.errors import InvalidRequest, LoraManagerError, PasswordNeeded
from lora_manager_core.import_export.archive.reader import open_archive

#: Where a password is looked for before anybody is asked; never on the command line, which other
#: users of the machine can see.
PASSWORD_VARIABLE = "LORA_MANAGER_ARCHIVE_PASSWORD"


def password_of(path: Path, arguments: argparse.Namespace) -> str | None:
    """The password of an archive, if it has one; asked for where somebody can answer."""
    given = _given_password(arguments)
    if given is not None:
        return given
    try:
        open_archive(path, allow_pickles=True).close()
    except PasswordNeeded:
        if not sys.stdin.isatty():
            raise PasswordNeeded(
                f"{path} is encrypted: use --password-file FILE, or set {PASSWORD_VARIABLE}."
            ) from None
        return getpass.getpass(f"Password of {path.name}: ")
    except (LoraManagerError, OSError):
        pass  # it is told when the archive is used
    return None


def new_password(arguments: argparse.Namespace) -> str | None:
    """The password to encrypt with; None where nobody asked for it.

    Raises:
        InvalidRequest: there is none, or it was typed in two ways.
    """
    if not (arguments.encrypt or arguments.password_file):
        return None
    password = _given_password(arguments)
    if password is None and sys.stdin.isatty():
        password = getpass.getpass("Password of the new archive: ")
        if password != getpass.getpass("Once more: "):
            raise InvalidRequest("The two passwords differ; nothing was done.")
    if not password:
        raise InvalidRequest(
            f"To encrypt there must be a password: --password-file FILE or {PASSWORD_VARIABLE}."
        )
    return password


def _given_password(arguments: argparse.Namespace) -> str | None:
    if arguments.password_file is not None:
        try:
            text: str = arguments.password_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{arguments.password_file} cannot be read: {error}.") from error
        return text.rstrip("\r\n")
    return os.environ.get(PASSWORD_VARIABLE)

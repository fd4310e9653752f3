"""Passwords of archives on their way to a job: in a file of its own, never in the database.

A job's payload names the file by a token, under `secret`; the file goes when the job has ended.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_manager_core.common.files import remove_files
from lora_manager_core.errors import InvalidRequest, LoraManagerError
from lora_manager_core.queueing.base import JobCancelled

#: A file may be there for a moment before the job that names it is.
_YOUNG_S = 300.0
_TOKEN = re.compile(r"[0-9a-f]{32}")


class Secrets:
    """The folder of these files; only this user may read them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, password: str) -> str:
        """Keep a password; gives the token it is found by."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = secrets.token_hex(16)
        file = os.open(self._folder / token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as secret:
            secret.write(password.encode())
        return token

    @contextmanager
    def kept(self, password: str | None) -> Iterator[str | None]:
        """The token of a password (None for None) for a job that is begun in the block.

        Forgotten if the block fails: then there is no job, or it has ended.
        """
        token = None if password is None else self.keep(password)
        try:
            yield token
        except BaseException:
            if token is not None:
                self.forget(token)
            raise

    def get(self, token: str) -> str:
        """The password of that token.

        Raises:
            InvalidRequest: it is gone; the job has to be asked for again.
        """
        try:
            return self._path(token).read_bytes().decode()
        except FileNotFoundError as error:
            raise InvalidRequest(
                "The password of this job is no longer kept; start it again with the password."
            ) from error

    @contextmanager
    def used(self, token: str | None) -> Iterator[str | None]:
        """The password for the time of a job's run (None for None), removed if that was the last.

        It stays where the job may be begun again: cancelled by a stop of the process, or failed for
        something that may pass; `sweep` removes it if it never is.
        """
        if token is None:
            yield None
            return
        try:
            yield self.get(token)
        except JobCancelled:
            raise
        except LoraManagerError as error:
            if not error.may_pass:
                self.forget(token)
            raise
        except BaseException:
            self.forget(token)
            raise
        else:
            self.forget(token)

    def forget(self, token: str) -> None:
        """Remove a password; no effect if it is gone."""
        remove_files([self._path(token)])

    def sweep(self, in_use: Collection[str]) -> None:
        """Remove the passwords of jobs that are no more; `in_use` are the tokens of the others."""
        if not self._folder.is_dir():
            return
        old = [path for path in self._folder.iterdir() if path.name not in in_use]
        remove_files(path for path in old if _age_s(path) > _YOUNG_S)

    def _path(self, token: str) -> Path:
        if not _TOKEN.fullmatch(token):
            raise InvalidRequest("This is no token of a password.")
        return self._folder / token


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0

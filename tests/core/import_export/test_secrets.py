"""Passwords on their way to a job."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lora_manager_core.errors import Busy, InvalidRequest
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import JobCancelled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def _run(secrets: Secrets, token: str, error: BaseException | None = None) -> str | None:
    with secrets.used(token) as password:
        if error is not None:
            raise error
        return password


def test_a_password_is_kept_for_its_user_alone(folder: Path) -> None:
    token = Secrets(folder).keep("pässword")

    assert Secrets(folder).get(token) == "pässword"
    if os.name == "posix":
        assert (folder / token).stat().st_mode & 0o777 == 0o600


def test_it_goes_with_the_job(folder: Path) -> None:
    secrets = Secrets(folder)
    token = secrets.keep("x")

    assert _run(secrets, token) == "x"
    assert list(folder.iterdir()) == []
    with pytest.raises(InvalidRequest, match="start it again"):
        secrets.get(token)


def test_it_goes_with_a_job_that_failed(folder: Path) -> None:
    secrets = Secrets(folder)
    with pytest.raises(ValueError, match="no"):
        _run(secrets, secrets.keep("x"), ValueError("no"))

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("error", [JobCancelled(), Busy("later")], ids=["stopped", "may pass"])
def test_it_stays_for_a_job_that_is_begun_again(folder: Path, error: BaseException) -> None:
    secrets = Secrets(folder)
    token = secrets.keep("x")
    with pytest.raises(type(error)):
        _run(secrets, token, error)

    assert _run(secrets, token) == "x"


def test_old_ones_without_a_job_are_swept(folder: Path) -> None:
    secrets = Secrets(folder)
    used, young, old = (secrets.keep(name) for name in ("used", "young", "old"))
    for token in (used, old):
        os.utime(folder / token, (time.time() - 3600,) * 2)

    secrets.sweep({used})

    assert {path.name for path in folder.iterdir()} == {used, young}


def test_a_token_is_no_path(folder: Path) -> None:
    with pytest.raises(InvalidRequest):
        Secrets(folder).get("../config.toml")


def test_without_a_password_there_is_none(folder: Path) -> None:
    with Secrets(folder).used(None) as password:
        assert password is None

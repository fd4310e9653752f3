"""What the hostile archives are made with."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyzipper

from tests.fakes.raw_zip import RawMember, raw_zip
from tests.fakes.sample_archives import model

#: Who must see it at the latest: opening, reading the records, the rows, or the contents.
Seen = Literal["open", "records", "rows", "contents"]

#: Part of every name that leads elsewhere, and what a payload would write.
EVIL = "hostile-was-here"
RAN = "hostile-was-run"


@dataclass(frozen=True)
class Hostile:
    """One archive: `build` writes it; `reason` is part of the sentence that refuses it."""

    name: str
    build: Callable[[Path], None]
    reason: str
    seen: Seen = "open"
    password: str | None = None


class _Runs:
    """A pickle of this would write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"echo ran > {RAN}",)


PICKLE = pickle.dumps(_Runs())


def of(
    name: str,
    content: bytes | Callable[[], bytes],
    reason: str,
    seen: Seen = "open",
    password: str | None = None,
) -> Hostile:
    """An archive of that content, or of what is made when it is written."""

    def _write(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content())

    return Hostile(name, _write, reason, seen, password)


def good(seed: int = 0) -> RawMember:
    """A member that is a model file, and true."""
    return RawMember("good.safetensors", model(seed))


def raw(members: Mapping[str, bytes]) -> bytes:
    """A ZIP in which names may be anything."""
    return raw_zip([RawMember(name, content) for name, content in members.items()])


def ordinary(members: Mapping[str, bytes]) -> bytes:
    """A ZIP as everybody makes one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def aes(members: Mapping[str, bytes]) -> bytes:
    """A ZIP that `secret` opens."""
    buffer = io.BytesIO()
    with pyzipper.AESZipFile(buffer, "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"secret")
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()

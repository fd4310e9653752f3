"""The port to hashes that somebody else has made already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_manager_core.library.hashing.digest import FileHashes


@dataclass(frozen=True, slots=True)
class HashableFile:
    """A model file as its records know it; `numbers` are their row numbers (`pk`)."""

    path: str
    size: int
    mtime_ns: int
    numbers: tuple[int, ...] = ()

    @property
    def is_safetensors(self) -> bool:
        """Whether it has a header with tensors behind it."""
        return Path(self.path).suffix.lower() == ".safetensors"


class KnownHashes(Protocol):
    """Gives hashes only of files that are certainly what was hashed, and only all of them."""

    def known(self, files: Sequence[HashableFile]) -> Mapping[str, FileHashes]:
        """The hashes of those files that are known, by path; reads none of the files."""


class NothingKnown:
    """Nobody has hashed anything."""

    def known(self, files: Sequence[HashableFile]) -> Mapping[str, FileHashes]:
        """Nothing."""
        return {}

"""Hashes that SD.Next has made of LoRA files already, where they are certainly of these files.

After the host's `modules/hashes.py` and `modules/lora/network.py`: it keeps them in `cache.json` by
the title `lora/NAME` with the file's time stamp, SHA-256 of whole files in the store `hashes`, and
of what lies behind the header in `hashes-addnet`. The title does not say which of several files of
one name was hashed, the host takes an entry for any file that is not newer, and after a download it
stores what Civitai promised, also if the option to throw other files away is off. So an entry
counts only for the very time stamp, for a name that one file has, and while that option is on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.library.hashing.digest import FileHashes
from lora_manager_core.library.hashing.known import HashableFile

_WHOLE = "hashes"
_TENSORS = "hashes-addnet"
_SHA256 = re.compile(r"[0-9a-f]{64}")

#: Title → entry with `mtime` (seconds) and `sha256`, of the store of that name.
Store = Callable[[str], Mapping[str, Mapping[str, Any]]]


class HostHashes:
    """The host's cache as `KnownHashes`."""

    def __init__(
        self,
        store: Store,
        has_name_alone: Callable[[Path], bool],
        keeps_promises: Callable[[], bool],
    ) -> None:
        """`has_name_alone` tells of a file whether no other LoRA of the host has its name;
        `keeps_promises` whether downloads with another hash than promised are thrown away."""
        self._store = store
        self._has_name_alone = has_name_alone
        self._keeps_promises = keeps_promises

    def known(self, files: Sequence[HashableFile]) -> Mapping[str, FileHashes]:
        """The hashes of those files that are known, all of a file or none, by path."""
        if not self._keeps_promises():
            return {}
        whole, tensors = self._store(_WHOLE), self._store(_TENSORS)
        found: dict[str, FileHashes] = {}
        for file in files:
            path = Path(file.path)
            title = "lora/" + path.stem.replace(".", "_")
            of_file = _hash_of(whole.get(title), file)
            of_tensors = _hash_of(tensors.get(title), file) if file.is_safetensors else None
            if of_file is None or (file.is_safetensors and of_tensors is None):
                continue
            if self._has_name_alone(path):
                found[file.path] = FileHashes(of_file, of_tensors)
        return found


def _hash_of(entry: Mapping[str, Any] | None, file: HashableFile) -> str | None:
    """The hash in an entry, if it was made of this file as it is."""
    if entry is None:
        return None
    seconds, nanoseconds = divmod(file.mtime_ns, 10**9)
    if entry.get("mtime") != seconds + 1e-9 * nanoseconds:  # as Python makes `st_mtime`
        return None
    text = str(entry.get("sha256") or "").lower()
    return text if _SHA256.fullmatch(text) else None

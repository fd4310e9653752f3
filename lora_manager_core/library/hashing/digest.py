"""The hashes of one model file, all of them in one reading.

AutoV2 and AutoV3 are the names that Civitai gives to beginnings of these hashes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_manager_core.library.safetensors_header import MAX_HEADER_BYTES

#: Bytes read at once: they are hashed twice while they are in the processor's cache.
PIECE_BYTES = 1 << 20
_AUTOV2 = 10
_AUTOV3 = 12


class FileChanged(Exception):
    """The file is no longer the one that was meant, or became another while it was read."""


@dataclass(frozen=True, slots=True)
class FileHashes:
    """SHA-256, in lower case, of a whole file and of what lies behind its safetensors header.

    `tensors` is what `addnet_hash_safetensors` of kohya's sd-scripts (`library/train_util.py`)
    gives, and what its trainers write into the header as `sshs_model_hash`: everything from byte
    8 + n on, n being the little-endian number in the first eight bytes. None for other formats and
    for files without a whole header. What a header says is never taken for it: whoever converts,
    prunes or merges a file mostly copies the metadata as they were, and only reading tells.
    """

    whole: str
    tensors: str | None

    @property
    def autov2(self) -> str:
        """The beginning of the hash of the whole file."""
        return self.whole[:_AUTOV2]

    @property
    def autov3(self) -> str | None:
        """The beginning of the hash of the tensors."""
        return self.tensors[:_AUTOV3] if self.tensors is not None else None


def hash_file(
    path: Path, size: int, mtime_ns: int, before_piece: Callable[[int], None] = lambda _: None
) -> FileHashes:
    """Hash a file of that size and time stamp.

    `before_piece` is told how many bytes were hashed since its last call, and once at the end; it
    may wait, and may raise to stop. Neither reading nor hashing holds up other threads.

    Raises:
        FileChanged: it is another file by now, or became one meanwhile.
        OSError: it is gone or cannot be read.
    """
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    piece = memoryview(bytearray(min(PIECE_BYTES, max(size, 1))))
    place, begin = 0, None
    with path.open("rb", buffering=0) as file:
        _require(os.fstat(file.fileno()), size, mtime_ns)
        before_piece(0)
        while count := file.readinto(piece):
            data = piece[:count]
            if place == 0:
                begin = _data_start(path, data, size)
            whole.update(data)
            if begin is not None and place + count > begin:
                tensors.update(data[max(0, begin - place) :])
            place += count
            before_piece(count)
    # By its name, not by what was opened: another file may have been put in its place.
    _require(path.stat(), size, mtime_ns)
    if place != size:
        raise FileChanged
    return FileHashes(whole.hexdigest(), tensors.hexdigest() if begin is not None else None)


def _data_start(path: Path, beginning: memoryview, size: int) -> int | None:
    """Where the tensors begin; None where there is no header that ends in the file."""
    if path.suffix.lower() != ".safetensors" or len(beginning) < 8:
        return None
    length = int.from_bytes(beginning[:8], "little")
    return 8 + length if 2 <= length <= min(MAX_HEADER_BYTES, size - 8) else None


def _require(status: os.stat_result, size: int, mtime_ns: int) -> None:
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise FileChanged

"""Reads the header of a safetensors file and says plainly why one cannot be read.

Only header bytes are touched (and two to eight bytes where one scalar is asked for); weights never
are. Format: https://github.com/huggingface/safetensors (README and `safetensors/src/tensor.rs`).
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import orjson

MAX_HEADER_BYTES = 100_000_000  # MAX_HEADER_SIZE of the reference implementation
_FIRST_READ = 64 * 1024  # most adapter headers fit: one read instead of two
_LENGTH_BYTES = 8

# Adapters of one trainer and rank share their tensor table byte for byte (only the metadata
# differs), so a checked table is worth remembering. 16 of half a megabyte are 45 MB as objects.
_REMEMBERED_TABLES = 16
_REMEMBERED_TABLE_BYTES = 512 * 1024

# Bits per element of every dtype of the format (safetensors 0.7, `Dtype` in tensor.rs).
DTYPE_BITS = {
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64, "BOOL": 8,
    "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
}  # fmt: skip

# Far more than any tensor has: the product of a million axes is a number that takes hours.
_MOST_AXES = 64

_SCALAR_FORMATS = {"F16": "<e", "F32": "<f", "F64": "<d"}


class HeaderUnreadable(ValueError):
    """The file is no usable safetensors file; `reason` says why, for people, without the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class TensorTable:
    """The checked tensor entries of a header; files with equal tables share one: never change it.

    `entries` maps a tensor name to its raw entry: `dtype` (str), `shape` (list of int) and
    `data_offsets` (two ints, relative to the data area). `data_bytes` is how long the data area
    must be at least.
    """

    entries: dict[str, dict[str, Any]]
    data_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What the header of one file says.

    `metadata` holds strings only: numbers and booleans were turned into text, anything else was
    dropped. `data_start` and `file_size` are in bytes, `mtime_ns` is the modification time in
    nanoseconds.
    """

    metadata: dict[str, str]
    table: TensorTable
    data_start: int
    file_size: int
    mtime_ns: int

    @property
    def tensors(self) -> dict[str, dict[str, Any]]:
        """Raw entries by tensor name; shared with other headers, read only."""
        return self.table.entries


class Readable(Protocol):
    """What bytes can be read from, like a file that was opened as `rb`."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes; none at the end."""


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read and check the header of one file; raises HeaderUnreadable and nothing else.

    Names that occur twice in `__metadata__` are tolerated (the last one counts, as in the reference
    implementation); tensor names that do are not.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  10,000 of these per scan
            status = os.fstat(file.fileno())
            return read_header_from(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise HeaderUnreadable(_why_not_read(error)) from error
    except ValueError as error:
        if isinstance(error, HeaderUnreadable):
            raise
        raise HeaderUnreadable("cannot be read: the path is not a possible file name") from error


def read_header_from(file: Readable, size: int, mtime_ns: int = 0) -> Header:
    """The same of anything of `size` bytes that is read from its beginning."""
    start = _read(file, min(_FIRST_READ, size))
    length = _checked_length(start, size)
    end = _LENGTH_BYTES + length
    raw = start[_LENGTH_BYTES:end]
    if end > len(start):
        raw += _read(file, end - len(start))
    if len(raw) < length:
        raise HeaderUnreadable("the file ends inside its header")
    metadata, table = _parse(raw)
    missing = table.data_bytes - (size - end)
    if missing > 0:
        raise HeaderUnreadable(f"the file is cut off: {missing} bytes of its tensors are missing")
    return Header(metadata, table, end, size, mtime_ns)


def read_scalar(path: str | os.PathLike[str], header: Header, key: str) -> float | None:
    """The value of a one-element F16, BF16, F32 or F64 tensor such as `….alpha`.

    None for other dtypes and lengths, for a value that is not finite, and for a file that is gone.
    """
    entry = header.tensors.get(key)
    if entry is None or math.prod(entry["shape"]) != 1:
        return None
    dtype = entry["dtype"]
    if dtype != "BF16" and dtype not in _SCALAR_FORMATS:
        return None
    begin, end = entry["data_offsets"]
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  10,000 of these per scan
            file.seek(header.data_start + begin)
            raw = file.read(end - begin)
    except OSError:
        return None
    if len(raw) != end - begin:
        return None
    if dtype == "BF16":  # the upper half of a float32
        raw, dtype = b"\0\0" + raw, "F32"
    value: float = struct.unpack(_SCALAR_FORMATS[dtype], raw)[0]
    return value if math.isfinite(value) else None


def forget_tables() -> None:
    """Give back the memory of remembered tensor tables; worth a call when a scan has ended."""
    _checked_table.cache_clear()


def _checked_length(start: bytes, file_size: int) -> int:
    if not start:
        raise HeaderUnreadable("the file is empty")
    if len(start) < _LENGTH_BYTES + 2:
        raise HeaderUnreadable("the file is too short to be a safetensors file")
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if length < 2:
        raise HeaderUnreadable("its header is empty")
    if length > MAX_HEADER_BYTES:
        raise HeaderUnreadable("it is not a safetensors file: its header would be over 100 MB long")
    if length + _LENGTH_BYTES > file_size:
        raise HeaderUnreadable("its header would be longer than the file")
    return length


def _read(file: Readable, count: int) -> bytes:
    """`count` bytes, fewer at the end of the file; an unbuffered read may stop anywhere."""
    pieces = []
    while count > 0:
        piece = file.read(count)
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _why_not_read(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"


def _parse(raw: bytes) -> tuple[dict[str, str], TensorTable]:
    """Metadata and tensor table; the table is remembered where the metadata stands first."""
    if raw.startswith(b'{"__metadata__":{"'):
        # `"},"` ends the metadata unless it lies in a string; then the text before it is no JSON.
        cut = raw.find(b'"},"')
        if cut > 0:
            try:
                metadata = orjson.loads(raw[: cut + 2] + b"}")["__metadata__"]
            except orjson.JSONDecodeError:
                metadata = None
            if metadata is not None:
                return _strings(metadata), _table(b"{" + raw[cut + 3 :].rstrip())
    document = _document(raw)
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise HeaderUnreadable("its metadata is not a JSON object")
    if metadata or b'"__metadata__"' in raw:
        _refuse_duplicates(raw, len(document), metadata_names=1)
        return _strings(metadata), _checked_entries(document)
    return {}, _table(raw.strip())


def _table(raw: bytes) -> TensorTable:
    if len(raw) > _REMEMBERED_TABLE_BYTES:
        return _checked_table.__wrapped__(raw)
    return _checked_table(raw)


@lru_cache(maxsize=_REMEMBERED_TABLES)
def _checked_table(raw: bytes) -> TensorTable:
    document = _document(raw)
    if "__metadata__" in document:  # the caller took the first one out already
        raise HeaderUnreadable("its header names “__metadata__” twice")
    _refuse_duplicates(raw, len(document), metadata_names=0)
    return _checked_entries(document)


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise HeaderUnreadable(f"its header is not valid JSON ({error.msg})") from error
    if not isinstance(document, dict):
        raise HeaderUnreadable("its header is not a JSON object")
    return document


def _refuse_duplicates(raw: bytes, tensors: int, metadata_names: int) -> None:
    """Refuse a header that names something twice; the slow parser runs only for odd counts.

    Inside a JSON string a quote is always escaped, so `"data_offsets"` with bare quotes is a key
    (or a whole string): one per tensor, unless something is doubled or spelt with escapes.
    """
    if (
        raw.count(b'"data_offsets"') == raw.count(b'"dtype"') == raw.count(b'"shape"') == tensors
        and raw.count(b'"__metadata__"') == metadata_names
        and (metadata_names or b"\\" not in raw)
    ):
        return
    try:
        json.loads(raw, object_pairs_hook=_unique)
    except RecursionError as error:
        raise HeaderUnreadable("its header is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs) and not all(isinstance(value, str) for value in names.values()):
        seen: set[str] = set()
        for twice, _ in pairs:
            if twice in seen:
                break
            seen.add(twice)
        raise HeaderUnreadable(f"its header names “{twice[:80]}” twice")
    return names


def _checked_entries(document: dict[str, Any]) -> TensorTable:
    """Check every entry in one tight loop; the sentence about a bad one is made afterwards."""
    bits_of = DTYPE_BITS
    furthest = 0
    for name, entry in document.items():
        try:
            bits = bits_of[entry["dtype"]]
            shape = entry["shape"]
            begin, end = entry["data_offsets"]
            if type(begin) is not int or type(end) is not int or begin < 0:
                raise HeaderUnreadable(_why_malformed(name, entry))
            if type(shape) is not list or len(shape) > _MOST_AXES:
                raise HeaderUnreadable(_why_malformed(name, entry))
            for axis in shape:
                if type(axis) is not int or axis < 0:
                    raise HeaderUnreadable(_why_malformed(name, entry))
                bits *= axis
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, HeaderUnreadable):
                raise
            raise HeaderUnreadable(_why_malformed(name, entry)) from error
        if (end - begin) * 8 != bits:
            raise HeaderUnreadable(_why_malformed(name, entry))
        if end > furthest:
            furthest = end
    return TensorTable(document, furthest)


def _why_malformed(name: str, entry: Any) -> str:
    what = f"its tensor “{name[:80]}”"
    if not isinstance(entry, dict):
        return f"{what} is not described by a JSON object"
    for field in ("dtype", "shape", "data_offsets"):
        if field not in entry:
            return f"{what} has no {field}"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        return f"{what} has an unknown dtype"
    if not _counts(shape):
        return f"{what} has a shape that is not a list of non-negative whole numbers"
    if len(shape) > _MOST_AXES:
        return f"{what} has more than {_MOST_AXES} axes"
    if not _counts(offsets) or len(offsets) != 2:
        return f"{what} has data offsets that are not two non-negative whole numbers"
    if offsets[0] > offsets[1]:
        return f"{what} ends before it begins"
    return f"{what} has a length that does not fit its shape and dtype"


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _strings(metadata: dict[str, Any]) -> dict[str, str]:
    if set(map(type, metadata.values())) <= {str}:
        return metadata
    return dict(_as_strings(metadata.items()))


def _as_strings(items: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, str]]:
    for name, value in items:
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, (bool, int, float)):
            yield name, str(value)

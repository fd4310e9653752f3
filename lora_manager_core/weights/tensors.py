"""Reads tensors of a safetensors file one by one, as float32.

Bytes are read, not mapped: a file that is cut off meanwhile is an error and not the end of the
process, and Windows lets nobody delete a mapped file. Pickled files are never opened.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.library.safetensors_header import Header, HeaderUnreadable, read_header
from lora_manager_core.weights.problems import WeightsUnreadable

Floats = NDArray[np.float32]

#: Numbers converted at a time: 128 KB, which stay in a processor's cache.
_PIECE = 1 << 15


class TensorFile:
    """One open file; use it in a `with`, which closes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open it and read its header.

        Raises:
            WeightsUnreadable: it is no safetensors file, damaged, or cannot be read.
        """
        if Path(path).suffix.lower() != ".safetensors":
            raise WeightsUnreadable(
                "only .safetensors files are read: other formats may run code when they are opened"
            )
        try:
            self.header: Header = read_header(path)
            self._file: IO[bytes] = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115
        except HeaderUnreadable as error:
            raise WeightsUnreadable(error.reason) from error
        except OSError as error:
            raise WeightsUnreadable(_why(error)) from error
        # Used again and again: fresh memory costs more than all that is done to a tensor in it.
        self._raw = np.empty(0, np.uint8)
        self._floats = np.empty(0, np.float32)
        self._used = self._wanted = 0

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def offset(self, key: str) -> int:
        """Where a tensor begins, for reading them in the order of the file."""
        begin: int = self.header.tensors[key]["data_offsets"][0]
        return begin

    def shape(self, key: str) -> list[int]:
        """The shape of a tensor."""
        shape: list[int] = self.header.tensors[key]["shape"]
        return shape

    def release(self) -> None:
        """What was read so far is not needed any more: its memory is used for what comes."""
        if self._wanted > self._floats.size:
            self._floats = np.empty(self._wanted, np.float32)
        self._used = self._wanted = 0

    def read(self, key: str) -> Floats:
        """A tensor as float32 of its shape, valid until the next `release`.

        Raises:
            WeightsUnreadable: a dtype that is not known here, a value that is not finite, or a file
                that changed or cannot be read any more.
        """
        entry = self.header.tensors[key]
        dtype = entry["dtype"]
        if dtype not in _CONVERTED:
            raise WeightsUnreadable(f"its tensor “{key[:80]}” is of the type {dtype}")
        begin, end = entry["data_offsets"]
        if end - begin > self._raw.size:
            self._raw = np.empty(end - begin, np.uint8)
        raw = self._raw[: end - begin]
        self._fill(raw, begin)
        values = self._room(math.prod(entry["shape"]))
        if not _convert(raw, dtype, values):
            raise WeightsUnreadable(
                f"its tensor “{key[:80]}” holds values that are not finite: the training went "
                "wrong or the file is damaged"
            )
        return values.reshape(entry["shape"])

    def scalar(self, key: str) -> float:
        """The value of a tensor of one element; raises WeightsUnreadable as `read` does."""
        values = self.read(key)
        if values.size != 1:
            raise WeightsUnreadable(f"its tensor “{key[:80]}” is not a single number")
        return float(values.reshape(()))

    def _room(self, count: int) -> Floats:
        """Memory for so many numbers."""
        self._wanted += count
        begin, end = self._used, self._used + count
        if end > self._floats.size:
            return np.empty(count, np.float32)
        self._used = end
        return self._floats[begin:end]

    def _fill(self, raw: NDArray[np.uint8], begin: int) -> None:
        view = raw.data
        try:
            self._file.seek(self.header.data_start + begin)
            while len(view):
                count = self._file.readinto(view)  # type: ignore[attr-defined]
                if not count:
                    raise WeightsUnreadable("the file became shorter while it was read")
                view = view[count:]
        except OSError as error:
            raise WeightsUnreadable(_why(error)) from error


_CONVERTED = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")


def _convert(raw: NDArray[np.uint8], dtype: str, values: Floats) -> bool:
    """Write bytes as float32 into `values`; gives whether all are finite."""
    if dtype == "F16":
        return _from_half(raw.view("<i2"), values)
    if dtype == "F8_E5M2":  # the upper half of a float16
        return _from_half((raw.astype(np.uint16) << 8).view(np.int16), values)
    if dtype == "F32":
        np.copyto(values, raw.view("<f4"))
    elif dtype == "F64":
        with np.errstate(over="ignore"):
            np.copyto(values, raw.view("<f8"), casting="same_kind")
    elif dtype == "BF16":  # the upper half of a float32
        bits = values.view(np.uint32)
        np.copyto(bits, raw.view("<u2"))
        bits <<= 16
    else:
        np.take(_e4m3(), raw, out=values)
    return not values.size or math.isfinite(float(values.max()) - float(values.min()))


def _from_half(halves: NDArray[np.int16], values: Floats) -> bool:
    """Float16 to float32 by shifting bits into place: several times as fast as numpy's conversion.

    The exponent's bias differs by 112, so a multiplication by 2^112 sets it right, also for
    subnormal numbers. See IEEE 754-2008, 3.4.
    """
    if halves.size and (halves.max() >= 0x7C00 or halves.view(np.uint16).max() >= 0xFC00):
        return False  # the exponents of infinity and NaN
    bits = values.view(np.int32)
    for start in range(0, halves.size, _PIECE):
        piece = slice(start, start + _PIECE)
        np.copyto(bits[piece], halves[piece])
        bits[piece] <<= 13
        bits[piece] &= ~0x70001FFF
        values[piece] *= np.float32(2.0**112)
    return True


@lru_cache(maxsize=1)
def _e4m3() -> Floats:
    """The 256 values of F8_E4M3 (arXiv 2209.05433, table 1): bias 7, no infinity, one NaN."""
    codes = np.arange(256)
    exponent, fraction = (codes >> 3) & 15, codes & 7
    size = np.where(
        exponent == 0, fraction / 8 * 2.0**-6, (1 + fraction / 8) * 2.0 ** (exponent - 7.0)
    )
    size[(codes & 127) == 127] = np.nan
    return np.where(codes & 128, -size, size).astype(np.float32)


def _why(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"

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

#: Numbers converted at a time: half a megabyte, which stays in a processor's cache.
_PIECE = 1 << 17


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
        #: Used for every tensor: fresh memory costs as much as reading into it.
        self._raw = np.empty(0, np.uint8)

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

    def read(self, key: str) -> Floats:
        """A tensor as float32 of its shape.

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
        values = _converted(raw, dtype)
        if values is None:
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


def _converted(raw: NDArray[np.uint8], dtype: str) -> Floats | None:
    """Bytes as float32; None where a value is not finite."""
    if dtype == "F16":
        return _from_half(raw)
    if dtype == "F32":
        values = raw.view("<f4").astype(np.float32)
    elif dtype == "F64":
        with np.errstate(over="ignore"):
            values = raw.view("<f8").astype(np.float32)
    elif dtype == "BF16":  # the upper half of a float32
        values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype == "F8_E5M2":  # the upper half of a float16
        return _from_half((raw.astype(np.uint16) << 8).view(np.uint8))
    else:
        values = _e4m3()[raw]
    if values.size and not math.isfinite(float(values.max()) - float(values.min())):
        return None
    return values


def _from_half(raw: NDArray[np.uint8]) -> Floats | None:
    """Float16 to float32 by shifting bits into place: twice as fast as numpy's own conversion.

    The exponent's bias differs by 112, so a multiplication by 2^112 sets it right, also for
    subnormal numbers. See IEEE 754-2008, 3.4.
    """
    halves = raw.view("<i2")
    unsigned = raw.view("<u2")
    if halves.size and (halves.max() >= 0x7C00 or unsigned.max() >= 0xFC00):
        return None  # the exponents of infinity and NaN
    bits = np.empty(halves.size, np.int32)
    values = bits.view(np.float32)
    for start in range(0, halves.size, _PIECE):
        piece = slice(start, start + _PIECE)
        np.copyto(bits[piece], halves[piece])
        bits[piece] <<= 13
        bits[piece] &= ~0x70001FFF
        values[piece] *= np.float32(2.0**112)
    return values


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

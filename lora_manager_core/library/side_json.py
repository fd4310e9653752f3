"""The JSON and the texts of other programs: any encoding, any mistake, never an exception.

Windows programs write byte order marks, UTF-16 and their own code page; Python ones write `NaN` and
halves of surrogate pairs. What cannot be read at all becomes a sentence for people.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

_UTF8_MARK = b"\xef\xbb\xbf"
#: Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (_UTF8_MARK, "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_SURROGATES = re.compile("[\ud800-\udfff]")
#: Digits of the longest whole number that is kept as one.
_LONGEST_WHOLE = 18


def read_object(raw: bytes, name: str, problems: list[str]) -> dict[str, Any] | None:
    """The JSON object in `raw`; None with a sentence in `problems` where there is none.

    A guessed encoding is said in `problems` too.
    """
    try:
        document = orjson.loads(raw.removeprefix(_UTF8_MARK))
    except orjson.JSONDecodeError as error:
        document = _read_leniently(decoded(raw, name, problems))
        if document is None:
            problems.append(f"{name} is not valid JSON ({error.msg})")
            return None
    if not isinstance(document, dict):
        problems.append(f"{name} is not a JSON object")
        return None
    if b"\\u0000" in raw or b"\0" in raw:  # PostgreSQL stores no NUL
        return dict(without_nul(document))
    return document


def decoded(raw: bytes, name: str, problems: list[str]) -> str:
    """Bytes as text: by their mark, as UTF-8, as UTF-16 or UTF-32 by their zeros.

    What is none of these is taken for Windows-1252, which is said in `problems`.
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding, errors="replace")
    encoding = json.detect_encoding(raw)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        problems.append(f"{name} is not UTF-8; it was read as Windows-1252")
        return raw.decode("cp1252", errors="replace")


def without_nul(value: Any) -> Any:
    """The same JSON value with NUL characters taken out of every text."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {key.replace("\0", ""): without_nul(item) for key, item in value.items()}
    return [without_nul(item) for item in value] if isinstance(value, list) else value


def _read_leniently(text: str) -> Any:
    """What Python's own reader takes beyond the standard, made valid; None if it is no JSON."""
    try:
        document = json.loads(
            text, parse_constant=lambda _name: None, parse_int=_whole, parse_float=_finite
        )
        return _whole_characters(document)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= _LONGEST_WHOLE else _finite(digits)


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _whole_characters(value: Any) -> Any:
    """The value with a question mark for every half of a character that has no other half."""
    if isinstance(value, str):
        return _SURROGATES.sub("?", value)
    if isinstance(value, dict):
        return {_SURROGATES.sub("?", key): _whole_characters(v) for key, v in value.items()}
    return [_whole_characters(item) for item in value] if isinstance(value, list) else value

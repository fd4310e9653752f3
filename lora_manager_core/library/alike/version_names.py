"""What in a file's name says which version of a model it is.

There is no rule for it: these are the ways of people who publish models and of trainers, which
number the states of one training (`-000010`, `e10`, `step1200`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MARK = re.compile(
    r"(?:(?<=[\s_\-.(\[])|(?<=[a-z]))(?:v(?:er(?:sion)?)?[\s_\-.]?)(?P<version>\d+(?:[._]\d+)*)(?![a-z\d])"
    r"|(?<=[\s_\-.])(?:e|ep|epoch)[\s_\-]?(?P<epoch>\d+)(?![a-z\d])"
    r"|(?<=[\s_\-.])(?:s|step|steps)[\s_\-]?(?P<step>\d+)(?![a-z\d])"
    r"|(?<=-)(?P<state>\d{6})(?!\d)"
    r"|(?<=[\s_\-.])(?P<last>final|last)(?![a-z\d])"
)
_BETWEEN = re.compile(r"[\s_\-.()\[\]]+")
#: A name with less than this left tells nothing of what it names.
_LEAST_LETTERS = 3


class VersionMark(NamedTuple):
    """The version in a name; later ones are greater. `text` is how the name says it."""

    number: tuple[int, ...]
    is_final: bool
    progress: int
    text: str


class VersionedName(NamedTuple):
    """A name without its version, in a form that spelling does not change, and the version."""

    key: str
    mark: VersionMark


def versioned_name(stem: str) -> VersionedName | None:
    """What a file's name, without its ending, tells; None if too little is left of it.

    A name without any version counts as an earlier one than all that have one. A training that
    was not stopped has no number of its state: its result comes last.
    """
    text = stem.lower()
    number: tuple[int, ...] = ()
    is_final, progress, found = False, 0, []
    for match in _MARK.finditer(text):
        found.append(match.group())
        if match["version"]:
            number = tuple(int(part) for part in re.split(r"[._]", match["version"]))
        elif match["last"]:
            is_final = True
        else:
            progress = int(match["epoch"] or match["step"] or match["state"])
    key = " ".join(_BETWEEN.sub(" ", _MARK.sub(" ", text)).split())
    if sum(letter.isalpha() for letter in key) < _LEAST_LETTERS:
        return None
    return VersionedName(key, VersionMark(number, is_final, progress, " ".join(found)))

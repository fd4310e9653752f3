"""The language of the search box: any text as a tree of terms. What they match is told elsewhere.

Terms are ANDed; `OR` between two terms joins just these; `-` before a term turns it round;
`"quotes"` hold a phrase together, also behind a field. A piece that is no term of the language
(an unknown field or state, a lone quote, an `OR` with nothing beside it) is searched as it stands,
so that there is no text that cannot be searched.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

#: Fields whose values are compared without case, and what they are compared with.
FIELDS: Mapping[str, str] = {
    "tag": "a tag",
    "base": "the base model, or what it is a family of",
    "author": "a part of the author's name",
    "type": "the network type",
    "folder": "a folder, or several in a row, of the path",
}
#: What `is:` can ask for.
STATES = (
    "active",
    "changed",
    "duplicate",
    "favorite",
    "missing",
    "unrated",
    "untagged",
)
#: How `rating:` compares; without a sign the rating is this very one, and nobody's is 0.
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "": operator.eq,
}

_TERM = re.compile(
    r"(?P<minus>-)?(?:(?P<field>[A-Za-z]+):)?"
    r'(?P<value>"(?P<quoted>[^"]*)"|\S+)'
)
_RATING = re.compile(r"(>=|<=|>|<|=|)([0-5])")
_OR = "OR"


@dataclass(frozen=True, slots=True)
class Text:
    """Without case, this occurs in name, version, author, description, notes, tags or words."""

    text: str


@dataclass(frozen=True, slots=True)
class Field:
    """One of `FIELDS` is this, without case."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Rated:
    """The rating compares like this; `sign` is one of `COMPARISONS`."""

    sign: str
    rating: int


@dataclass(frozen=True, slots=True)
class Is:
    """The record is in one of `STATES`."""

    state: str


@dataclass(frozen=True, slots=True)
class Not:
    """The term does not hold."""

    term: Term


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one term holds."""

    terms: tuple[Term, ...]


Term = Text | Field | Rated | Is | Not | AnyOf


@lru_cache(maxsize=256)
def parse_search(text: str) -> tuple[Term, ...]:
    """The terms of a search, all of which have to hold; none for an empty one."""
    # No database takes these, and no record holds them.
    text = text.encode("utf-8", "replace").decode().replace("\0", " ")
    found = [match for match in _TERM.finditer(text) if match["quoted"] is None or _said(match)]
    terms: list[Term] = []
    is_joined = False
    for number, match in enumerate(found):
        between = 0 < number < len(found) - 1 and found[number + 1].group() != _OR
        if match.group() == _OR and between and not is_joined:
            is_joined = True
            continue
        term = _term(match)
        if is_joined:
            before = terms.pop()
            known = before.terms if isinstance(before, AnyOf) else (before,)
            term = AnyOf((*known, term))
        terms.append(term)
        is_joined = False
    return tuple(terms)


def _said(match: re.Match[str]) -> bool:
    return bool((match["quoted"] or "").strip())


def _term(match: re.Match[str]) -> Term:
    value = match["value"] if match["quoted"] is None else match["quoted"]
    whole = match.group()[len(match["minus"] or "") :].casefold()
    name = (match["field"] or "").lower()
    term = _field(name, value.casefold().strip()) if name else Text(value.casefold())
    term = term or Text(whole)
    return Not(term) if match["minus"] else term


def _field(name: str, value: str) -> Term | None:
    if name in FIELDS and value:
        return Field(name, value)
    if name == "is" and value in STATES:
        return Is(value)
    rating = _RATING.fullmatch(value) if name == "rating" else None
    return Rated(rating[1], int(rating[2])) if rating else None

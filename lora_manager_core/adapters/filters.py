"""What a query leaves of the catalogue, as SQL for both databases.

On SQLite every filter has two forms. Gathering finds the rows that match through an index of the
filter: best where few do. Walking goes along the index of the order and looks at each row: best
where many match and only the first page of them is wanted. SQLite keeps no statistics to choose by;
PostgreSQL does, and gets one form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    column,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from lora_manager_core.adapters import search_syntax as syntax
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.schemas import ListQuery
from lora_manager_core.adapters.table import ADAPTERS, RATING
from lora_manager_core.common.base_labels import narrower, normalise_label
from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import AdapterTag, Collection, CollectionAdapter
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.errors import CollectionNotFound

_FULL_TEXT = table("adapters_fts", column("rowid"), column("adapters_fts"))
#: Shortest word the trigram index can find.
_TRIGRAM = 3
_SEPARATORS = str.maketrans("", "", " ._-+/\\()[]:,'\"")
_TAGS = AdapterTag.__table__.c


class Filters:
    """Translates queries; asks the database for the labels in use where a search names one."""

    def __init__(self, session: ReadSession, is_sqlite: bool) -> None:
        self._session = session
        self._sqlite = is_sqlite
        self._matching: dict[syntax.Field, list[str]] = {}

    def clauses(self, query: AdapterQuery, walking: bool = False) -> list[ColumnElement[bool]]:
        """The conditions of a query, all of which have to hold; in the form for gathering, or for
        walking along the index of the query's order."""
        walking = walking and self._sqlite
        c = ADAPTERS.c
        found = [self._term(term, walking) for term in syntax.parse_search(query.search)]
        if query.active_only:
            found.append(self._unindexed("active", walking).is_(True))
        if query.tags:
            found.append(self._tagged(query.tags, walking))
        found.extend(self._tagged((tag,), walking) for tag in query.all_tags)
        if query.exclude_tags:
            found.append(~self._tagged(query.exclude_tags, walking))
        if query.untagged:
            found.append(~_has_tags())
        # These two have an index in the order of names, which is filter and order in one.
        aside = walking and query.sort != "name"
        if query.base_model is not None:
            found.append(self._unindexed("base_model", aside) == query.base_model)
        if query.network_type is not None:
            found.append(self._unindexed("network_type", aside) == query.network_type)
        if query.favorite is not None:
            found.append(self._unindexed("favorite", walking).is_(query.favorite))
        if query.folder is not None:
            found.append(self._below(query.folder, walking))
        if query.file_state is not None:
            found.append(self._unindexed("file_state", walking) == query.file_state)
        if query.nsfw_max is not None:
            found.append(c.nsfw_level <= query.nsfw_max)
        if query.collection is not None:
            found.append(self._in_collection(query.collection))
        return found

    def _term(self, term: syntax.Term, walking: bool) -> ColumnElement[bool]:
        if isinstance(term, syntax.Text):
            return self._contains(term.text, walking)
        if isinstance(term, syntax.Not):
            return ~self._term(term.term, walking)
        if isinstance(term, syntax.AnyOf):
            return or_(*(self._term(one, walking) for one in term.terms))
        if isinstance(term, syntax.Rated):
            holds: ColumnElement[bool] = syntax.COMPARISONS[term.sign](RATING, term.rating)
            return holds
        if isinstance(term, syntax.Is):
            return self._state(term.state, walking)
        if term.name == "tag":
            return self._tagged((term.value,), walking)
        return self._labelled(term, walking)

    def _contains(self, word: str, walking: bool) -> ColumnElement[bool]:
        if not self._sqlite:
            return ADAPTERS.c.search_text.contains(word, autoescape=True)
        if walking or len(word) < _TRIGRAM:
            return func.instr(ADAPTERS.c.search_text, word) > 0
        phrase = '"' + word.replace('"', '""') + '"'
        return ADAPTERS.c.pk.in_(
            select(_FULL_TEXT.c.rowid).where(_FULL_TEXT.c.adapters_fts.op("MATCH")(phrase))
        )

    def _tagged(self, tags: Iterable[str], walking: bool) -> ColumnElement[bool]:
        keys = [word_key(tag) for tag in tags]
        if walking:
            return exists().where(_TAGS.tag_key.in_(keys), _TAGS.adapter_pk == ADAPTERS.c.pk)
        return ADAPTERS.c.pk.in_(select(_TAGS.adapter_pk).where(_TAGS.tag_key.in_(keys)))

    def _below(self, folder: str, walking: bool) -> ColumnElement[bool]:
        c = self._unindexed("folder", walking)
        if not self._sqlite:
            return or_(c == folder, c.startswith(folder + "/", autoescape=True))
        # "0" is the character after "/": a range of the index, where LIKE would read all of it.
        return or_(c == folder, and_(c > folder + "/", c < folder + "0"))

    def _in_collection(self, collection_id: str) -> ColumnElement[bool]:
        """Raises `CollectionNotFound`."""
        found = self._session.execute(
            select(Collection.query).where(Collection.id == collection_id)
        ).first()
        if found is None:
            raise CollectionNotFound(f"There is no collection {collection_id}.")
        c = ADAPTERS.c
        if found.query is None:
            mine = CollectionAdapter.collection_id == collection_id
            return c.id.in_(select(CollectionAdapter.adapter_id).where(mine))
        saved = AdapterQuery.from_request(ListQuery.model_validate(found.query))
        return c.pk.in_(select(c.pk).where(*self.clauses(replace(saved, collection=None))))

    def _state(self, state: str, walking: bool) -> ColumnElement[bool]:
        if state in ("missing", "changed"):
            return self._unindexed("file_state", walking) == state
        if state == "untagged":
            return ~_has_tags()
        if state == "unrated":
            return RATING == 0
        if state == "duplicate":
            return _is_duplicate()
        return self._unindexed(state, walking).is_(True)

    def _labelled(self, term: syntax.Field, walking: bool) -> ColumnElement[bool]:
        """Label and value are compared here, not by the database: it knows neither what a base
        model is a family of, nor, in every language, what is a letter's other case."""
        name, matches = _LABELS[term.name]
        if term not in self._matching:
            in_use = self._authors(term.value) if term.name == "author" else self._in_use(name)
            self._matching[term] = [label for label in in_use if matches(term.value, label)]
        labels = self._matching[term]
        if not labels:
            return false()
        c = self._unindexed(name, walking)
        # One parameter however many there are.
        if self._sqlite:
            listed = func.json_each(orjson.dumps(labels).decode()).table_valued("value")
            return and_(c.is_not(None), c.in_(select(listed.c.value)))
        return and_(c.is_not(None), c == func.any(literal(labels, ARRAY(Text))))

    def _authors(self, part: str) -> list[str]:
        query = (
            select(ADAPTERS.c.author_username)
            .where(ADAPTERS.c.author_username.is_not(None), self._contains(part, walking=False))
            .distinct()
        )
        return list(self._session.connection().scalars(query))

    def _in_use(self, name: str) -> list[str]:
        """The values of an indexed column: one step along the index for each of them."""
        query = text(
            f"WITH RECURSIVE used (label) AS (SELECT min({name}) FROM adapters UNION ALL "
            f"SELECT (SELECT min({name}) FROM adapters WHERE {name} > label) FROM used "
            "WHERE label IS NOT NULL) SELECT label FROM used WHERE label IS NOT NULL"
        )
        return list(self._session.connection().scalars(query))

    @staticmethod
    def _unindexed(name: str, walking: bool) -> ColumnElement[Any]:
        """The column; with a sign that keeps SQLite from using its index when it is to walk."""
        c: ColumnElement[Any] = ADAPTERS.c[name]
        return literal_column(f"+adapters.{name}", c.type) if walking else c


def same_base(asked: str, label: str) -> bool:
    """Whether a base model that is labelled so is, or is of the family of, what is asked for.

    What is asked for may be spelt as any program does (`sdxl`, `Flux.1 D`), or be a part of a
    label.
    """
    plain = _plain(asked)
    wanted, given = normalise_label(asked), normalise_label(label) or label
    if wanted is None:
        return plain in _plain(label)
    return plain == _plain(label) or narrower(wanted, given) == given


def same_type(asked: str, label: str) -> bool:
    """Whether a network type is the one asked for, however that is spelt."""
    return _plain(asked) == _plain(label)


def in_folder(asked: str, folder: str) -> bool:
    """Whether the folders asked for occur in this one, in a row and whole."""
    wanted = asked.replace("\\", "/").strip("/")
    return f"/{wanted}/" in f"/{folder.casefold()}/"


def by_author(asked: str, author: str) -> bool:
    """Whether the author's name holds this, without case."""
    return asked in author.casefold()


def _plain(label: str) -> str:
    return label.casefold().translate(_SEPARATORS)


#: Field → the column that holds its labels, and whether one is asked for by a value.
_LABELS: dict[str, tuple[str, Callable[[str, str], bool]]] = {
    "base": ("base_model", same_base),
    "type": ("network_type", same_type),
    "folder": ("folder", in_folder),
    "author": ("author_username", by_author),
}


def _has_tags() -> ColumnElement[bool]:
    return exists().where(_TAGS.adapter_pk == ADAPTERS.c.pk)


def _is_duplicate() -> ColumnElement[bool]:
    """Another file has the same contents; several records of one file are none of each other."""
    c, other = ADAPTERS.c, ADAPTERS.alias("other")
    several = (
        select(ADAPTERS.alias("all_files").c.primary_file_sha256)
        .where(text("all_files.primary_file_sha256 IS NOT NULL"))
        .group_by(text("all_files.primary_file_sha256"))
        .having(func.count() > 1)
    )
    return and_(
        c.primary_file_sha256.is_not(None),
        c.primary_file_sha256.in_(several),
        exists().where(
            other.c.primary_file_sha256 == c.primary_file_sha256, other.c.file_key != c.file_key
        ),
    )

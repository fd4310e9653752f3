"""The search language: what people type as terms, and that any text means the same in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_manager_core.adapters import filters
from lora_manager_core.adapters.lists import AdapterLists
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.search_syntax import (
    COMPARISONS,
    STATES,
    AnyOf,
    Field,
    Is,
    Not,
    Rated,
    Term,
    Text,
    parse_search,
)
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.words import word_key
from lora_manager_core.db.unit_of_work import Database
from tests.fakes.catalogue import adapter_row


class TestParse:
    @pytest.mark.parametrize(
        ("text", "terms"),
        [
            pytest.param("Ink wash", (Text("ink"), Text("wash")), id="words"),
            pytest.param('"Ink wash"', (Text("ink wash"),), id="phrase"),
            pytest.param('ink -"two words"', (Text("ink"), Not(Text("two words"))), id="not"),
            pytest.param("a OR b c", (AnyOf((Text("a"), Text("b"))), Text("c")), id="or is narrow"),
            pytest.param(
                "a OR b OR -c", (AnyOf((Text("a"), Text("b"), Not(Text("c")))),), id="ors"
            ),
            pytest.param("a or b", (Text("a"), Text("or"), Text("b")), id="a small or is a word"),
            pytest.param('TAG:"Long Hair"', (Field("tag", "long hair"),), id="field"),
            pytest.param("rating:>=4 rating:3", (Rated(">=", 4), Rated("", 3)), id="rating"),
            pytest.param("-is:Favorite", (Not(Is("favorite")),), id="state"),
            pytest.param('""', (), id="nothing"),
            pytest.param("OR a", (Text("or"), Text("a")), id="or with nothing before it"),
            pytest.param("a OR", (Text("a"), Text("or")), id="or with nothing behind it"),
            pytest.param('"ink', (Text('"ink'),), id="lone quote"),
            pytest.param("-", (Text("-"),), id="lone minus"),
            pytest.param("tag:", (Text("tag:"),), id="field without a value"),
            pytest.param("is:blue", (Text("is:blue"),), id="unknown state"),
            pytest.param("rating:many", (Text("rating:many"),), id="no rating"),
            pytest.param("<lora:X:1>", (Text("<lora:x:1>"),), id="unknown field"),
        ],
    )
    def test_gives_the_terms(self, text: str, terms: tuple[Term, ...]) -> None:
        assert parse_search(text) == terms


class TestLabels:
    @pytest.mark.parametrize(
        ("asked", "label", "same"),
        [
            pytest.param("sdxl", "SDXL", True, id="spelling"),
            pytest.param("sdxl", "Pony", True, id="family"),
            pytest.param("pony", "SDXL", False, id="not the other way round"),
            pytest.param("flux.1 d", "Flux.1", True, id="as another program spells it"),
            pytest.param("wan", "Wan 2.1 14B", True, id="a size of it"),
            pytest.param("klein", "Flux.2 Klein 4B", True, id="part of a label"),
            pytest.param("my-own", "My Own Base", True, id="a label nobody knows"),
            pytest.param("sd15", "SDXL", False, id="another"),
        ],
    )
    def test_base(self, asked: str, label: str, same: bool) -> None:
        assert filters.same_base(asked, label) is same


_ROWS = [
    adapter_row("Ink Portrait", tags=["ink", "Long Hair"], base_model="SDXL", rating=4),
    adapter_row("ink_v2", tags=["INK"], base_model="Pony", favorite=True, folder="styles/ink"),
    adapter_row("STRASSE", author_username="Müller", notes='50% "off"', network_type="LoKr"),
    adapter_row("a", active=True, description="水彩 an", rating=1, folder="styles"),
    adapter_row("b", file_state="missing", primary_file_sha256="1" * 64, author_username="Ann"),
    adapter_row("c", file_state="changed", primary_file_sha256="1" * 64, trained_words=["-an"]),
    adapter_row("d", primary_file_sha256="2" * 64, base_model="Flux.1", network_type="DoRA"),
]
_PIECES = st.sampled_from(
    ["ink", "INK", "an", "a", "水", "straße", "50%", '"off"', '"k p"', '"', "OR", "-", "_", "\\"]
    + [
        "tag:ink",
        'tag:"long hair"',
        "base:sdxl",
        "base:pony",
        "base:none",
        "author:MÜL",
        "author:n",
    ]
    + ["folder:styles", "folder:ink", "folder:styles/INK", "type:lokr", "type:x", "rating:x", "\0"]
    + ["rating:>=1", "rating:<4", "rating:0", "is:new", *(f"is:{state}" for state in STATES)]
)
_SEARCHES = st.one_of(
    st.lists(st.tuples(st.sampled_from(["", "", "-"]), _PIECES), max_size=5).map(
        lambda drawn: " ".join(map("".join, drawn))
    ),
    st.text(max_size=12),
)


@pytest.fixture
def lists(database: Database) -> Iterator[AdapterLists]:
    """Seven records, no two alike."""
    with database.write() as session:
        AdapterWriter(session).insert_rows(_ROWS)
    return AdapterLists(database)


def _holds(term: Term, row: Mapping[str, Any]) -> bool:
    """What a term says, in plain Python."""
    if isinstance(term, Text):
        return term.text in row["search_text"]
    if isinstance(term, Not):
        return not _holds(term.term, row)
    if isinstance(term, AnyOf):
        return any(_holds(one, row) for one in term.terms)
    if isinstance(term, Rated):
        return bool(COMPARISONS[term.sign](row.get("rating") or 0, term.rating))
    if isinstance(term, Is):
        return {
            "active": bool(row.get("active")),
            "favorite": bool(row.get("favorite")),
            "missing": row.get("file_state") == "missing",
            "changed": row.get("file_state") == "changed",
            "duplicate": row.get("primary_file_sha256") == "1" * 64,
            "unrated": row.get("rating") is None,
            "untagged": not row["tags"],
        }[term.state]
    if term.name == "tag":
        return word_key(term.value) in map(word_key, row["tags"])
    column = {"base": "base_model", "type": "network_type", "author": "author_username"}
    label = row.get("folder", "") if term.name == "folder" else row.get(column[term.name])
    compare = {
        "base": filters.same_base,
        "type": filters.same_type,
        "folder": filters.in_folder,
        "author": filters.by_author,
    }
    return label is not None and compare[term.name](term.value, label)


class TestMeaning:
    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(search=_SEARCHES, per_page=st.sampled_from([1, 24]))
    def test_any_text_finds_what_its_terms_say(
        self, lists: AdapterLists, search: str, per_page: int
    ) -> None:
        terms = parse_search(search)
        wanted = [
            row["name"]
            for row in sorted(_ROWS, key=lambda row: str(row["name_key"]))
            if all(_holds(term, row) for term in terms)
        ]

        pages = range(1, -(-len(wanted) // per_page) + 2)
        found = [
            lists.browse(AdapterQuery(search=search, per_page=per_page, page=page))
            for page in pages
        ]

        assert [record["name"] for page in found for record in page["items"]] == wanted
        assert {page["filtered"] for page in found} == {len(wanted)}

    def test_the_longest_text_is_searched(self, lists: AdapterLists) -> None:
        assert lists.browse(AdapterQuery(search="tag:a OR " * 111))["filtered"] == 0
        assert lists.browse(AdapterQuery(search="a " * 500))["filtered"] == 5

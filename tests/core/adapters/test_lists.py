"""Lists beyond one page: orders from both ends, and facets under every other filter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text, update

from lora_manager_core.adapters.lists import AdapterLists
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.schemas import FacetsAnswer
from lora_manager_core.adapters.table import ADAPTERS, order_of
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from tests.fakes.catalogue import adapter_row

_ROWS = [
    adapter_row(
        f"n{number:02}",
        rating=(None, 5, 2)[number % 3],
        use_count=number % 4,
        last_used_at=f"2026-01-0{number % 4}T00:00:00.000000Z" if number % 4 else None,
        file_size=number % 5,
        base_model=("SDXL", "Pony", None)[number % 3],
        tags=[["ink"], ["INK", "wash"], []][number % 3],
        favorite=number % 7 == 0,
        folder=("", "a", "a/b")[number % 3],
    )
    for number in range(20)
]
_KEYS = {
    "rating": lambda row: row["rating"] or 0,
    "use_count": lambda row: row["use_count"],
    "last_used_at": lambda row: row["last_used_at"] or "",
    "file_size": lambda row: row["file_size"],
}


@pytest.fixture
def filled(database: Database) -> Iterator[Database]:
    """Twenty records."""
    with database.write() as session:
        AdapterWriter(session).insert_rows(_ROWS)
    return database


class TestOrder:
    @pytest.mark.parametrize("sort", _KEYS)
    def test_every_page_from_both_ends_with_ties_by_name(self, filled: Database, sort: str) -> None:
        lists = AdapterLists(filled)
        for order, tags in itertools.product((None, "asc"), ((), ("ink",))):
            expected = sorted(_ROWS, key=lambda row: row["name"])
            expected.sort(key=_KEYS[sort], reverse=order is None)
            wanted = [row["name"] for row in expected if not tags or row["tags"]]
            found = [
                record["name"]
                for page in range(1, 9)
                for record in lists.browse(
                    AdapterQuery(sort=sort, order=order, tags=tags, page=page, per_page=3)
                )["items"]
            ]
            assert found == wanted

    @pytest.mark.parametrize("sort", [*_KEYS, "name", "created_at", "updated_at"])
    def test_is_read_off_an_index(self, filled: Database, sort: str) -> None:
        query = select(ADAPTERS.c.pk).order_by(*order_of(AdapterQuery(sort=sort))).limit(5)
        with filled.write() as session:
            if not filled.is_sqlite:
                session.execute(text("SET LOCAL enable_seqscan = off"))
            compiled = query.compile(filled.engine, compile_kwargs={"literal_binds": True})
            plan = "EXPLAIN QUERY PLAN" if filled.is_sqlite else "EXPLAIN"
            steps = str(session.execute(text(f"{plan} {compiled}")).all())

        assert "ix_adapters_by_" in steps
        assert "TEMP B-TREE" not in steps


class TestFacets:
    def test_are_counted_without_their_own_filter(self, filled: Database) -> None:
        answer = AdapterLists(filled).facets(AdapterQuery(base_model="SDXL", tags=("wash",)), 10)

        FacetsAnswer.model_validate(answer, strict=True)
        facets = {
            name: {value["value"]: value["count"] for value in values}
            for name, values in answer["facets"].items()
            if name != "untagged"
        }
        assert (answer["total"], answer["filtered"]) == (20, 0)
        assert facets["base_model"] == {"Pony": 7}  # of all that are tagged `wash`
        assert facets["tags"] == {"ink": 7}  # of all on SDXL
        assert facets["rating"] == {}

    def test_of_everything(self, filled: Database) -> None:
        facets = AdapterLists(filled).facets(AdapterQuery(), 2)["facets"]

        assert {value["value"]: value["count"] for value in facets["rating"]} == {0: 7, 5: 7, 2: 6}
        assert facets["favorite"] == [{"value": False, "count": 17}, {"value": True, "count": 3}]
        assert facets["tags"] == [{"value": "ink", "count": 14}, {"value": "wash", "count": 7}]
        assert [value["count"] for value in facets["folder"]] == [7, 7]
        assert facets["untagged"] == 6

    def test_follow_the_search_and_every_change(self, filled: Database) -> None:
        lists, query = AdapterLists(filled), AdapterQuery(search="is:favorite")
        before = lists.facets(query, 1)
        with filled.write() as session:
            session.execute(update(Adapter).where(Adapter.name == "n01").values(favorite=True))
            AdapterWriter(session).set_active([_ROWS[0]["id"]], True)
        after = lists.facets(query, 1)

        assert before["facets"]["favorite"] == [{"value": True, "count": 3}]
        assert after["facets"]["favorite"] == [{"value": True, "count": 4}]
        assert after["facets"]["active"] == [
            {"value": False, "count": 3},
            {"value": True, "count": 1},
        ]
        assert (before["facets"]["untagged"], len(before["facets"]["tags"])) == (1, 1)
        assert before["facets"]["rating"] == [
            {"value": 0, "count": 1},
            {"value": 2, "count": 1},
            {"value": 5, "count": 1},
        ]

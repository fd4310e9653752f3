"""Bulk edits and deletions taken back over the API, on real files and both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import (
    Collection,
    CollectionAdapter,
    GenerationRun,
    RunAdapter,
    Stack,
    StackedAdapter,
)
from tests.core.conftest import Home

#: What follows from other things, or says when something was done.
_MOVING = ("updated_at",)


def _bulk(home: Home, **body: Any) -> dict[str, Any]:
    answer = home.client.post("/v1/adapters/bulk", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _undo(home: Home, undo_id: str, status: int = 200, **query: Any) -> dict[str, Any]:
    answer = home.client.post(f"/v1/adapters/undo/{undo_id}", params=query)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _state(home: Home) -> list[dict[str, Any]]:
    records = [{k: v for k, v in r.items() if k not in _MOVING} for r in home.adapters()]
    return sorted(records, key=lambda record: str(record["id"]))


def _patch(home: Home, adapter_id: str, **values: Any) -> None:
    answer = home.client.patch(f"/v1/adapters/{adapter_id}", json=values)
    assert answer.status_code == 200, answer.text


class TestEdits:
    @pytest.mark.parametrize(
        "change",
        [
            {"action": "activate"},
            {"action": "tag", "tags": ["Neu", "ink"]},
            {"action": "untag", "tags": ["INK"]},
            {"action": "set", "values": {"rating": 3, "base_model": "SDXL", "notes": "mine"}},
        ],
        ids=lambda change: change["action"],
    )
    def test_everything_is_as_it_was(self, home: Home, change: dict[str, Any]) -> None:
        ids = [record["id"] for record in home.adapters()]
        _patch(home, ids[0], tags=["Ink"], rating=5, notes="old")
        before = _state(home)

        undo_id = _bulk(home, **change, lora_ids=ids)["undo_id"]
        assert _state(home) != before
        assert _undo(home, undo_id)["restored"] > 0

        assert _state(home) == before
        assert home.client.get("/v1/adapters/tags").json()["tags"] == ["Ink"]
        assert [r["id"] for r in home.adapters(search="old")] == [ids[0]]
        assert home.adapters(search="neu") == []
        # A scan may write again what only the edit had made a person's.
        assert home.scan()["unchanged"] == 3

    def test_only_the_fields_of_the_edit_are_touched(self, home: Home) -> None:
        ids = [record["id"] for record in home.adapters()]
        undo_id = _bulk(home, action="set", lora_ids=ids, values={"rating": 3})["undo_id"]
        _patch(home, ids[0], notes="since")
        _undo(home, undo_id)
        assert {r["rating"] for r in home.adapters()} == {None}
        assert {r["notes"] for r in home.adapters()} == {"since", None}

    def test_what_somebody_changed_since_is_named_and_kept(self, home: Home) -> None:
        ids = [record["id"] for record in home.adapters()]
        undo_id = _bulk(home, action="set", lora_ids=ids, values={"rating": 3})["undo_id"]
        _patch(home, ids[0], rating=5)
        assert home.client.delete(f"/v1/adapters/{ids[1]}").status_code == 204

        problem = _undo(home, undo_id, 409)
        assert problem["code"] == "undo_conflict"
        assert {one["adapter_id"] for one in problem["conflicts"]} == set(ids[:2])
        assert sorted(r["rating"] for r in home.adapters()) == [3, 5]

        assert _undo(home, undo_id, force=True)["restored"] == 2
        assert {r["rating"] for r in home.adapters()} == {None}

    def test_what_changes_nothing_cannot_be_taken_back(self, home: Home) -> None:
        ids = [record["id"] for record in home.adapters()]
        assert _bulk(home, action="deactivate", lora_ids=ids)["undo_id"] is None


class TestDeletions:
    def test_a_record_comes_back_with_everything(self, home: Home) -> None:
        alice = home.adapter("alice")
        _patch(home, alice["id"], tags=["Ink"], notes="mine", trigger_groups=[{"words": ["a"]}])
        with home.application.database.write() as session:
            run = GenerationRun(source="ours", finished_at=utc_now(), images=1)
            session.add(run)
            session.flush()
            session.add(
                RunAdapter(
                    run_id=run.id, position=0, adapter_id=alice["id"], name="alice", weight=1.0
                )
            )
        before = home.adapters()

        answer = home.client.delete(f"/v1/adapters/{alice['id']}")
        assert answer.status_code == 204
        home.scan()
        assert len(home.adapters()) == 2

        restored = _undo(home, answer.headers["X-Undo-Id"])
        assert restored["ids"] == [alice["id"]]
        assert home.adapters() == before
        assert [r["id"] for r in home.adapters(search="mine", tags="ink")] == [alice["id"]]
        assert home.client.get("/v1/library/excluded").json()["excluded"] == []
        with home.application.database.read() as session:
            assert list(session.scalars(select(RunAdapter.adapter_id))) == [alice["id"]]
        assert home.scan()["unchanged"] == 3

    def test_its_places_in_collections_and_stacks_come_back_where_those_still_are(
        self, home: Home
    ) -> None:
        alice = home.adapter("alice")["id"]
        now = utc_now()
        times = {"created_at": now, "updated_at": now}
        with home.application.database.write() as session:
            for name in ("kept", "gone"):
                session.add(Collection(id=name, name=name, name_key=name, position=0, **times))
                session.add(Stack(id=name, name=name, name_key=name, **times))
            session.flush()
            for name in ("kept", "gone"):
                session.add(
                    CollectionAdapter(
                        collection_id=name, adapter_id=alice, position=3, added_at=now
                    )
                )
                session.add(
                    StackedAdapter(
                        stack_id=name, position=0, adapter_id=alice, name="alice", weight=0.5
                    )
                )
        undo_id = _bulk(home, action="delete", lora_ids=[alice])["undo_id"]
        with home.application.database.write() as session:
            session.delete(session.get(Collection, "gone"))
            session.delete(session.get(Stack, "gone"))
        _undo(home, undo_id)
        with home.application.database.read() as session:
            members = session.scalars(select(CollectionAdapter)).all()
            entries = session.scalars(select(StackedAdapter)).all()
        assert [(m.collection_id, m.adapter_id, m.position) for m in members] == [
            ("kept", alice, 3)
        ]
        assert [(e.stack_id, e.adapter_id) for e in entries] == [("kept", alice)]

    def test_many_come_back_at_once(self, home: Home) -> None:
        before = home.adapters()
        ids = [record["id"] for record in before]
        undo_id = _bulk(home, action="delete", lora_ids=ids)["undo_id"]
        assert home.adapters() == []
        _undo(home, undo_id)
        assert home.adapters() == before

    def test_what_a_scan_listed_anew_gives_way(self, home: Home) -> None:
        before = home.adapters()
        answer = home.client.delete(f"/v1/adapters/{before[0]['id']}")
        path = before[0]["file_path"]
        body = {"file_path": path}
        assert home.client.post("/v1/library/excluded/restore", json=body).status_code == 204
        home.scan()
        assert len(home.adapters()) == 3
        _undo(home, answer.headers["X-Undo-Id"])
        assert home.adapters() == before

    def test_a_name_taken_since_is_a_conflict(self, home: Home) -> None:
        alice, other = home.adapter("alice"), home.adapter("Zebra")
        undo_id = _bulk(home, action="delete", lora_ids=[alice["id"]])["undo_id"]
        _patch(home, other["id"], name="alice")
        problem = _undo(home, undo_id, 409)
        assert [one["name"] for one in problem["conflicts"]] == ["alice"]
        _undo(home, undo_id, force=True)
        assert home.adapter("alice 2")["id"] == alice["id"]


class TestList:
    def test_the_latest_come_first_and_say_whether_they_are_possible(self, home: Home) -> None:
        ids = [record["id"] for record in home.adapters()]
        first = _bulk(home, action="activate", lora_ids=ids)["undo_id"]
        second = _bulk(home, action="delete", lora_ids=ids[:1])["undo_id"]
        _undo(home, second)
        items = home.client.get("/v1/adapters/undo").json()["items"]
        assert [item["undo_id"] for item in items] == [second, first]
        assert [item["possible"] for item in items] == [False, True]
        assert [item["record_count"] for item in items] == [1, 3]
        assert items[1]["title"] == "Activated 3 adapters"
        assert _undo(home, second, 409)["code"] == "undo_conflict"
        assert _undo(home, "unknown", 404)["code"] == "undo_not_found"

"""Collections: by hand and by saved search, their order, and the adapters in them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.conftest import Home


def make(home: Home, name: str, **fields: Any) -> dict[str, Any]:
    answer = home.client.post("/v1/collections", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["collection"])


def listed(home: Home, **query: Any) -> list[dict[str, Any]]:
    answer = home.client.get("/v1/collections", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def names(home: Home, collection: dict[str, Any], **query: Any) -> list[str]:
    query = {"collection": collection["id"], "sort": "position", **query}
    return [record["name"] for record in home.adapters(**query)]


@pytest.fixture
def ids(home: Home) -> dict[str, str]:
    """The ids of the three adapters, by name."""
    return {record["name"]: record["id"] for record in home.adapters()}


class TestByHand:
    def test_holds_adapters_in_their_order(self, home, ids):
        made = make(home, "Mine", adapter_ids=[ids["ink_v2"], ids["Zebra"], ids["ink_v2"]])
        assert (made["adapter_count"], made["query"]) == (2, None)
        assert names(home, made) == ["ink_v2", "Zebra"]
        assert names(home, made, search="zeb") == ["Zebra"]

    def test_takes_adapters_in_and_lets_them_go(self, home, ids):
        made = make(home, "Mine", adapter_ids=[ids["Zebra"]])
        path = f"/v1/collections/{made['id']}/adapters"
        assert names(home, made) == ["Zebra"]  # counts that are remembered are counted anew
        for action, wanted, changed, after in (
            ("add", ["ink_v2", "Zebra", "alice"], 2, ["Zebra", "ink_v2", "alice"]),
            ("order", ["alice"], 3, ["alice", "Zebra", "ink_v2"]),
            ("remove", ["Zebra", "Zebra"], 1, ["alice", "ink_v2"]),
        ):
            body = {"action": action, "adapter_ids": [ids[name] for name in wanted]}
            answer = home.client.post(path, json=body).json()
            assert (answer["changed"], names(home, made)) == (changed, after), action
            assert answer["collection"]["adapter_count"] == len(after)
        page = home.client.get("/v1/adapters", params={"collection": made["id"]}).json()
        assert page["filtered"] == 2

    def test_changes_nothing_where_an_id_is_unknown(self, home, ids):
        made = make(home, "Mine", adapter_ids=[ids["Zebra"]])
        for action in ("add", "order"):
            body = {"action": action, "adapter_ids": [ids["alice"], "ghost"]}
            answer = home.client.post(f"/v1/collections/{made['id']}/adapters", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "adapter_not_found")
            assert "ghost" in answer.json()["unknown_ids"]
        assert names(home, made) == ["Zebra"]

    def test_gets_adapters_back_whose_deletion_is_taken_back(self, home, ids):
        made = make(home, "Mine", adapter_ids=[ids["Zebra"], ids["alice"]])
        body = {"action": "delete", "lora_ids": [ids["Zebra"]]}
        undo_id = home.client.post("/v1/adapters/bulk", json=body).json()["undo_id"]
        assert names(home, made) == ["alice"]
        assert home.client.post(f"/v1/adapters/undo/{undo_id}").status_code == 200
        assert names(home, made) == ["Zebra", "alice"]


class TestBySavedSearch:
    def test_holds_what_the_search_finds_just_now(self, home, ids):
        made = make(home, "Liked", query={"favorite": True})
        assert (made["adapter_count"], made["query"]) == (0, {"favorite": True})
        home.client.patch(f"/v1/adapters/{ids['alice']}", json={"favorite": True})
        assert names(home, made) == ["alice"]
        assert listed(home)[0]["adapter_count"] == 1
        changed = home.client.patch(
            f"/v1/collections/{made['id']}", json={"query": {"search": "zebra"}}
        )
        assert changed.json()["collection"]["query"] == {"search": "zebra"}
        assert names(home, made) == ["Zebra"]

    @pytest.mark.parametrize(
        "query", [{"page": 2}, {"collection": "x"}, {"sort": "size"}, {"nonsense": 1}], ids=str
    )
    def test_refuses_what_is_no_filter(self, home, query):
        answer = home.client.post("/v1/collections", json={"name": "x", "query": query})
        assert answer.status_code == 422

    def test_takes_no_adapters_by_hand(self, home, ids):
        made = make(home, "Liked", query={"favorite": True})
        body = {"action": "add", "adapter_ids": [ids["alice"]]}
        assert (
            home.client.post(f"/v1/collections/{made['id']}/adapters", json=body).status_code == 400
        )
        assert (
            home.client.patch(f"/v1/collections/{made['id']}", json={"query": None}).status_code
            == 400
        )


class TestAll:
    def test_are_listed_in_their_order(self, home):
        one, two, three = (make(home, name) for name in ("one", "two", "three"))
        body = {"collection_ids": [three["id"], one["id"]]}
        assert home.client.put("/v1/collections/order", json=body).status_code == 204
        assert [c["name"] for c in listed(home)] == ["three", "one", "two"]
        assert [c["name"] for c in listed(home, per_page=1, page=2)] == ["one"]
        body = {"collection_ids": [two["id"], "ghost"]}
        assert home.client.put("/v1/collections/order", json=body).status_code == 404
        assert [c["name"] for c in listed(home)] == ["three", "one", "two"]

    def test_are_told_of_one_adapter(self, home, ids):
        make(home, "Mine", adapter_ids=[ids["Zebra"]])
        make(home, "Z", query={"search": "zebra"})
        make(home, "Others", adapter_ids=[ids["alice"]])
        found = listed(home, adapter_id=ids["Zebra"])
        assert [(c["name"], c["adapter_count"]) for c in found] == [("Mine", 1), ("Z", 1)]

    def test_have_names_of_their_own_without_case(self, home):
        made = make(home, "Mine")
        other = make(home, "Other")
        answer = home.client.post("/v1/collections", json={"name": " mINE "})
        assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
        path = f"/v1/collections/{other['id']}"
        assert home.client.patch(path, json={"name": "MINE"}).status_code == 409
        path = f"/v1/collections/{made['id']}"
        answer = home.client.patch(path, json={"name": "MINE", "description": "of me"})
        assert answer.json()["collection"]["name"] == "MINE"
        assert home.client.patch(path, json={}).status_code == 400

    def test_leave_their_adapters_when_they_are_deleted(self, home, ids):
        made = make(home, "Mine", adapter_ids=list(ids.values()))
        assert home.client.delete(f"/v1/collections/{made['id']}").status_code == 204
        assert len(home.adapters()) == 3
        for answer in (
            home.client.get(f"/v1/collections/{made['id']}"),
            home.client.get("/v1/adapters", params={"collection": made["id"]}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_found")

"""Stacks: saving the active set, changing, applying, composing, and giving them away."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from lora_manager_core.db.models import Adapter
from tests.core.conftest import Home

_SHA = "ab" * 32


def make(home: Home, name: str = "Look", **fields: Any) -> dict[str, Any]:
    answer = home.client.post("/v1/stacks", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["stack"])


def get(home: Home, stack: dict[str, Any]) -> dict[str, Any]:
    return dict(home.client.get(f"/v1/stacks/{stack['id']}").json()["stack"])


def entries(stack: dict[str, Any]) -> list[tuple[str, float]]:
    return [(entry["name"], entry["weight"]) for entry in stack["entries"]]


def active(home: Home) -> list[tuple[str, float]]:
    """The active set in its order."""
    tokens = home.client.post("/v1/compose", json={}).json()["tokens"]
    return [(name, float(weight)) for _, name, weight, *_ in (t[1:-1].split(":") for t in tokens)]


@pytest.fixture
def ids(home: Home) -> dict[str, str]:
    """The ids of the three adapters, by name."""
    return {record["name"]: record["id"] for record in home.adapters()}


@pytest.fixture
def two(home: Home, ids: dict[str, str]) -> dict[str, Any]:
    """Zebra before alice, with weights unlike those of their records."""
    wanted = [
        {"adapter_id": ids["Zebra"], "weight": 0.25, "trigger_groups": ["night"]},
        {"adapter_id": ids["alice"], "weight": 0.75, "weight_te": 0.5},
    ]
    return make(home, entries=wanted)


def forget(home: Home, adapter_id: str) -> None:
    """The record goes; its file is not listed again."""
    assert home.client.delete(f"/v1/adapters/{adapter_id}").status_code == 204


class TestSaving:
    def test_keeps_the_active_set(self, home, ids):
        groups = [{"name": "night", "words": ["moon"]}]
        for name, ordinal in (("Zebra", 0), ("alice", 1)):
            change = {"active": True, "ordinal": ordinal, "weight": 0.5 + ordinal}
            change |= {"trigger_groups": groups, "chosen_groups": ["night"]}
            home.client.patch(f"/v1/adapters/{ids[name]}", json=change)
        made = make(home, description="as it was")
        assert entries(made) == [("Zebra", 0.5), ("alice", 1.5)]
        assert [entry["trigger_groups"] for entry in made["entries"]] == [["night"]] * 2
        assert made["missing_count"] == 0
        assert made["entries"][0]["file_name"] == "Zebra.safetensors"

    def test_of_nothing_is_refused(self, home):
        assert home.client.post("/v1/stacks", json={"name": "x"}).status_code == 400

    def test_refuses_what_does_not_fit(self, home, ids, two):
        twice = [{"adapter_id": ids["alice"]}, {"adapter_id": ids["alice"]}]
        for body, status in (
            ({"name": "LOOK", "entries": []}, 409),
            ({"name": "x", "entries": [{"adapter_id": "ghost"}]}, 404),
            ({"name": "x", "entries": twice}, 422),
            ({"name": "x", "entries": [{"position": 0}]}, 422),
            ({"name": "x", "entries": [{}]}, 422),
        ):
            assert home.client.post("/v1/stacks", json=body).status_code == status, body

    def test_lists_by_name(self, home, two):
        make(home, "another", entries=[])
        page = home.client.get("/v1/stacks").json()
        assert [stack["name"] for stack in page["items"]] == ["another", "Look"]
        assert entries(page["items"][1]) == [("Zebra", 0.25), ("alice", 0.75)]
        page = home.client.get("/v1/stacks", params={"search": "LOO"}).json()
        assert (page["total"], page["filtered"], len(page["items"])) == (2, 1, 1)


class TestChanging:
    def test_gives_entries_another_order_and_other_weights(self, home, ids, two):
        wanted = [
            {"position": 1, "weight_te": None},
            {"adapter_id": ids["ink_v2"]},
            {"position": 0, "weight": 0.3},
        ]
        body = {"entries": wanted, "name": "Looks"}
        changed = home.client.patch(f"/v1/stacks/{two['id']}", json=body).json()["stack"]
        assert entries(changed) == [("alice", 0.75), ("ink_v2", 1.0), ("Zebra", 0.3)]
        assert [entry["weight_te"] for entry in changed["entries"]] == [None] * 3
        assert changed["entries"][2]["trigger_groups"] == ["night"]
        assert changed["name"] == "Looks"

    @pytest.mark.parametrize(
        ("body", "status"),
        [({}, 400), ({"name": None}, 400), ({"entries": None}, 400), ({"weight": 1}, 422)],
        ids=str,
    )
    def test_refuses_what_means_nothing(self, home, two, body, status):
        assert home.client.patch(f"/v1/stacks/{two['id']}", json=body).status_code == status

    def test_keeps_entries_whose_adapter_is_gone(self, home, ids, two):
        forget(home, ids["Zebra"])
        shown = get(home, two)
        assert entries(shown) == [("Zebra", 0.25), ("alice", 0.75)]
        lost = shown["entries"][0]
        assert (lost["adapter_id"], lost["is_here"]) == (None, False)
        assert "No adapter here" in lost["problem"]
        body = {"entries": [{"position": 1}, {"position": 0}]}
        changed = home.client.patch(f"/v1/stacks/{two['id']}", json=body).json()["stack"]
        assert entries(changed) == [("alice", 0.75), ("Zebra", 0.25)]

    def test_deletes(self, home, two):
        assert home.client.delete(f"/v1/stacks/{two['id']}").status_code == 204
        answer = home.client.get(f"/v1/stacks/{two['id']}")
        assert (answer.status_code, answer.json()["code"]) == (404, "stack_not_found")
        assert len(home.adapters()) == 3


class TestApplying:
    def test_replaces_the_active_set(self, home, ids, two):
        home.client.post(f"/v1/adapters/{ids['ink_v2']}/activate")
        applied = home.client.post(f"/v1/stacks/{two['id']}/apply").json()
        assert ([e["name"] for e in applied["applied"]], applied["missing"]) == (
            ["Zebra", "alice"],
            [],
        )
        assert active(home) == [("Zebra", 0.25), ("alice", 0.75)]
        zebra = home.adapter("Zebra")
        assert (zebra["weight"], zebra["chosen_groups"]) == (0.25, ["night"])
        assert home.adapter("alice")["weight_te"] == 0.5

    def test_adds_to_the_active_set(self, home, ids, two):
        for name in ("ink_v2", "alice"):
            home.client.post(f"/v1/adapters/{ids[name]}/activate")
        answer = home.client.post(f"/v1/stacks/{two['id']}/apply", json={"mode": "add"})
        assert answer.json()["mode"] == "add"
        assert active(home) == [("alice", 0.75), ("ink_v2", 1.0), ("Zebra", 0.25)]

    def test_leaves_out_what_is_not_here_and_says_so(self, home, ids, two):
        (home.library / "characters" / "alice.safetensors").unlink()
        home.scan()
        applied = home.client.post(f"/v1/stacks/{two['id']}/apply").json()
        assert [e["name"] for e in applied["applied"]] == ["Zebra"]
        assert [(e["name"], e["problem"][:19]) for e in applied["missing"]] == [
            ("alice", "Its file is missing")
        ]
        forget(home, ids["Zebra"])
        assert home.client.post(f"/v1/stacks/{two['id']}/apply").status_code == 400


class TestComposing:
    def test_uses_the_weights_of_the_stack_and_stores_nothing(self, home, two):
        body = {"stack_id": two["id"], "delivery": {"mode": "cli"}}
        composed = home.client.post("/v1/compose", json=body).json()
        assert composed["tokens"] == [
            "<lora:Zebra:0.250>",
            "<lora:alice:0.750:te=0.500:unet=0.750>",
        ]
        assert (home.adapter("Zebra")["weight"], active(home)) == (1.0, [])

    def test_warns_of_what_is_not_here(self, home, ids, two):
        forget(home, ids["Zebra"])
        composed = home.client.post("/v1/compose", json={"stack_id": two["id"]}).json()
        assert [(w["code"], w["name"]) for w in composed["warnings"]] == [
            ("not_in_library", "Zebra")
        ]
        assert len(composed["tokens"]) == 1

    def test_refuses_adapters_beside_it(self, home, ids, two):
        body = {"stack_id": two["id"], "adapter_ids": [ids["alice"]]}
        assert home.client.post("/v1/compose", json=body).status_code == 400

    def test_sweeps_only_what_is_all_here(self, home, ids, two):
        body = {
            "mode": "sweep",
            "prompt": "a fox",
            "params": {"stack_id": two["id"], "weights": [0, 1]},
        }
        answer = home.client.post("/v1/deliveries", json=body)
        assert answer.status_code == 201, answer.text
        told = home.client.get(f"/v1/deliveries/{answer.json()['delivery_id']}").json()
        assert told["delivery"]["params"]["adapter_ids"] == [ids["Zebra"], ids["alice"]]
        forget(home, ids["Zebra"])
        answer = home.client.post("/v1/deliveries", json=body)
        assert answer.status_code == 422
        assert "“Zebra”" in answer.json()["detail"]


class TestSharing:
    def shared(self, home: Home, stack: dict[str, Any]) -> dict[str, Any]:
        answer = home.client.get(f"/v1/stacks/{stack['id']}/export")
        assert answer.status_code == 200
        return dict(answer.json())

    def take_in(self, home: Home, document: dict[str, Any], **how: str) -> dict[str, Any]:
        answer = home.client.post("/v1/stacks/import", json={"stack": document, **how})
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["stack"])

    def test_comes_back_as_it_went(self, home, ids, two):
        document = self.shared(home, two)
        assert "id" not in document
        assert {"adapter_id", "position"}.isdisjoint(document["entries"][0])
        assert home.client.delete(f"/v1/stacks/{two['id']}").status_code == 204
        made = self.take_in(home, document)
        assert made["entries"] == two["entries"]
        assert self.shared(home, made) == document

    def test_of_a_name_that_is_here(self, home, two):
        document = self.shared(home, two)
        assert self.take_in(home, document)["name"] == "Look 2"
        assert self.take_in(home, document)["name"] == "Look 3"
        answer = home.client.post(
            "/v1/stacks/import", json={"stack": document, "if_exists": "refuse"}
        )
        assert answer.status_code == 409
        assert self.take_in(home, document, if_exists="replace")["name"] == "Look"
        assert home.client.get("/v1/stacks").json()["total"] == 3

    @pytest.mark.parametrize("known_by", ["sha256", "autov2", "name and version"])
    def test_knows_adapters_again(self, home, ids, two, known_by):
        document = self.shared(home, two)
        entry = document["entries"][0]
        if known_by != "name and version":
            with home.application.database.write() as session:
                hashes = {"primary_file_sha256": _SHA, "autov2": _SHA[:10]}
                session.execute(update(Adapter).where(Adapter.id == ids["Zebra"]).values(**hashes))
            entry.update(name="other", sha256=None, autov2=None)
            entry[known_by] = _SHA.upper() if known_by == "sha256" else _SHA[:10]
        made = self.take_in(home, document)
        assert [e["adapter_id"] for e in made["entries"]] == [ids["Zebra"], ids["alice"]]
        assert made["entries"][0]["name"] == "Zebra"

    def test_takes_a_namesake_with_other_contents_for_another(self, home, ids, two):
        document = self.shared(home, two)
        with home.application.database.write() as session:
            hashes = {"primary_file_sha256": _SHA, "autov2": _SHA[:10]}
            session.execute(update(Adapter).where(Adapter.id == ids["Zebra"]).values(**hashes))
        document["entries"][0]["sha256"] = "cd" * 32
        document["entries"][0]["autov2"] = None
        made = self.take_in(home, document)
        lost = made["entries"][0]
        assert (lost["adapter_id"], lost["sha256"]) == (None, "cd" * 32)
        assert "other contents" in lost["problem"]
        assert made["missing_count"] == 1

    def test_finds_a_file_that_comes_later(self, home, ids, two):
        document = self.shared(home, two)
        document["entries"].append({"name": "later", "weight": 0.4})
        made = self.take_in(home, document)
        assert made["missing_count"] == 1
        path = home.adapter("alice")["file_path"]
        body = {"name": "later", "file_path": path}
        home.client.patch(f"/v1/adapters/{ids['alice']}", json={"notes": "touched"})
        assert home.client.post("/v1/adapters", json=body).status_code == 201
        assert get(home, made)["missing_count"] == 0

    @pytest.mark.parametrize(
        "changes",
        [{"version": 2}, {"format": "else"}, {"entries": [{"name": "x", "sha256": "zz"}]}],
        ids=str,
    )
    def test_refuses_what_it_does_not_know(self, home, two, changes):
        document = {**self.shared(home, two), **changes}
        assert home.client.post("/v1/stacks/import", json={"stack": document}).status_code == 422


class TestComposedSets:
    def test_become_stacks(self, home, ids):
        home.client.patch(f"/v1/adapters/{ids['ink_v2']}", json={"triggers": ["inkstyle"]})
        body = {"prompt": "inkstyle, a knight", "save_as": "Knight"}
        composed = home.client.post("/v1/recommendations/compose", json=body).json()
        stack = get(home, {"id": composed["stack_id"]})
        assert entries(stack) == [(a["lora_name"], a["weight"]) for a in composed["adapters"]]
        assert stack["description"] == "Composed for: inkstyle, a knight"
        assert home.client.post("/v1/recommendations/compose", json=body).status_code == 409

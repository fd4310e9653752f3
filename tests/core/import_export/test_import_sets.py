"""Collections and stacks of an archive, among those that are here."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from lora_manager_core.import_export.imports.repository import ImportWriter
from tests.core.conftest import Home
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    COLLECTION_ID,
    OTHER_ID,
    STACK_ID,
    rows,
)
from tests.importing import sample_with, send, stored, take_in


@pytest.fixture
def archive(tmp_path):
    """Make an archive; arguments are the rows of its tables, all else is as in the sample."""

    return partial(sample_with, tmp_path)


def row(table: str, **changes: Any) -> dict[str, Any]:
    return {**rows()[table][0], **changes}


@pytest.fixture
def ours(home: Home) -> dict[str, str]:
    """A collection and a stack of the names in the archive, of alice; gives all three ids."""
    alice = home.adapter("alice")["id"]
    post = home.client.post
    collection = post("/v1/collections", json={"name": "calm ONES", "adapter_ids": [alice]})
    body = {"name": "Ink LOOK", "entries": [{"adapter_id": alice}]}
    stack = post("/v1/stacks", json=body)
    return {
        "alice": alice,
        "collection": collection.json()["collection"]["id"],
        "stack": stack.json()["stack"]["id"],
    }


class TestOfNamesThatAreHere:
    def test_are_conflicts(self, home, archive, ours):
        result = send(home, archive())["results"][0]
        assert result["status"] == "conflicts"
        assert {c["key"]: c["differs"] for c in result["conflicts"]} == {
            "choices:collections/calm ones": ["name", "adapters"],
            "choices:stacks/ink look": ["name", "adapters"],
        }

    @pytest.mark.parametrize(
        ("rule", "collections", "stacks"),
        [
            ("skip", {"calm ONES": ["alice"]}, {"Ink LOOK": 1.0}),
            ("merge", {"calm ONES": ["alice", "Ink portrait"]}, {"Ink LOOK": 1.0}),
            ("replace", {"Calm ones": ["Ink portrait"]}, {"Ink look": 0.75}),
            (
                "rename",
                {"calm ONES": ["alice"], "Calm ones (2)": ["Ink portrait"]},
                {"Ink LOOK": 1.0, "Ink look (2)": 0.75},
            ),
        ],
    )
    def test_follow_the_rule_for_choices(self, home, archive, ours, rule, collections, stacks):
        for _ in range(2):  # the second time there is nothing left to do
            take_in(home, archive(), rules={"choices": rule})
            listed = home.client.get("/v1/collections").json()["items"]
            found = {
                one["name"]: [
                    record["name"]
                    for record in home.adapters(collection=one["id"], sort="position")
                ]
                for one in listed
            }
            assert found == collections
            shown = home.client.get("/v1/stacks").json()["items"]
            assert {one["name"]: one["entries"][0]["weight"] for one in shown} == stacks

    def test_and_of_the_same_contents_are_no_conflict(self, home, archive):
        take_in(home, archive())
        moved = [row("collections", position=5, updated_at="2027-01-01T00:00:00.000000Z")]
        assert take_in(home, archive(collections=moved))["conflicts"] == []
        assert stored(home, "collections")[0]["position"] == 0


class TestOfIdsThatAreHere:
    def test_under_another_name_are_conflicts(self, home, archive):
        take_in(home, archive())
        renamed = archive(collections=[row("collections", name="Loud")])
        (conflict,) = send(home, renamed)["results"][0]["conflicts"]
        assert (conflict["name"], conflict["differs"]) == ("Loud", ["name"])
        take_in(home, renamed, rules={"choices": "replace"})
        (known,) = stored(home, "collections")
        assert (known["id"], known["name_key"]) == (COLLECTION_ID, "loud")


class TestMembers:
    def test_follow_adapters_that_get_another_id(self, home, archive):
        take_in(home, archive())
        with home.application.database.write() as session:
            ImportWriter(session).change_ids({ADAPTER_ID: OTHER_ID})
        assert stored(home, "collection_adapters")[0]["adapter_id"] == OTHER_ID
        assert stored(home, "stack_entries")[0]["adapter_id"] == OTHER_ID

    def test_that_are_not_here_leave_collections_and_stay_in_stacks(self, home, archive):
        gone = {"adapter_id": "00000000-1111-4222-8333-444444444444"}
        tables = {table: [row(table, **gone)] for table in ("collection_adapters", "stack_entries")}
        take_in(home, archive(**tables))
        assert stored(home, "collection_adapters") == []
        assert stored(home, "stack_entries")[0]["adapter_id"] is None

    @pytest.mark.parametrize(
        ("table", "changes"),
        [
            ("collection_adapters", {"collection_id": STACK_ID}),
            ("stack_entries", {"stack_id": COLLECTION_ID}),
            ("stack_entries", {"weight": 1000.0}),
            ("collections", {"query": ["x"]}),
            ("stacks", {"name": " "}),
        ],
        ids=str,
    )
    def test_that_cannot_be_are_refused(self, home, archive, table, changes):
        result = send(home, archive(**{table: [row(table, **changes)]}))["results"][0]
        assert (result["status"], result["code"]) == ("error", "archive_refused")

    @pytest.mark.parametrize("table", ["collections", "collection_adapters", "stack_entries"])
    def test_twice_are_refused(self, home, archive, table):
        result = send(home, archive(**{table: [row(table), row(table)]}))["results"][0]
        assert (result["status"], result["code"]) == ("error", "archive_refused")

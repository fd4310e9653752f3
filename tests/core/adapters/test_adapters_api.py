"""Section 1 of the contract, over HTTP, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_manager_core.adapters.schemas import AdapterPage
from tests.core.conftest import Home
from tests.fakes.lora_files import write_lora


def _post(home: Home, name: str, path: Path, **fields: object) -> dict:
    answer = home.client.post("/v1/adapters", json={"name": name, "file_path": str(path), **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["adapter"]


class TestList:
    def test_gives_full_records_with_counts(self, home):
        answer = home.client.get("/v1/adapters").json()
        AdapterPage.model_validate(answer, strict=True)
        assert (answer["total"], answer["filtered"], answer["page"], answer["pages"]) == (
            3,
            3,
            1,
            1,
        )
        assert [record["name"] for record in answer["items"]] == ["alice", "ink_v2", "Zebra"]

    def test_pages_do_not_overlap_and_the_last_one_is_short(self, home):
        pages = [
            home.client.get("/v1/adapters", params={"page": n, "per_page": 2}).json()
            for n in (1, 2, 3)
        ]
        names = [[record["name"] for record in page["items"]] for page in pages]
        assert names == [["alice", "ink_v2"], ["Zebra"], []]
        assert pages[0]["pages"] == 2

    def test_is_the_same_under_both_prefixes(self, home):
        (home.library / "characters" / "alice.png").write_bytes(b"png")
        home.scan()
        one, other = (home.client.get(f"{p}/adapters").json() for p in ("/v1", "/api/v1"))
        links = [page["items"][0].pop("preview_url") for page in (one, other)]
        assert one == other
        assert links[1] == "/api" + links[0]

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            pytest.param("LIC", ["alice"], id="substring without case"),
            pytest.param("al", ["alice"], id="shorter than a trigram"),
            pytest.param("%", [], id="percent is literal"),
            pytest.param("_", ["ink_v2"], id="underscore is literal"),
            pytest.param("hero golden", ["alice"], id="words are ANDed"),
            pytest.param('"golden hero"', ["alice"], id="phrase"),
            pytest.param('"hero golden"', [], id="phrase in another order"),
            pytest.param('"', [], id="a lone quote is literal"),
            pytest.param("straße", ["alice"], id="case folding beyond ASCII"),
        ],
    )
    def test_searches_any_substring(self, home, search, found):
        alice = home.adapter("alice")
        changed = home.client.patch(
            f"/v1/adapters/{alice['id']}",
            json={"tags": ["Golden Hero"], "notes": "seen in STRASSE", "triggers": ["xyz"]},
        )
        assert changed.status_code == 200
        assert [r["name"] for r in home.adapters(search=search)] == found

    @pytest.mark.parametrize("field", ["description", "notes", "tags", "triggers", "trained_words"])
    def test_searches_every_text_field(self, home, field):
        text = "quicksilver"
        value = [text] if field in ("tags", "triggers", "trained_words") else text
        home.client.patch(f"/v1/adapters/{home.adapter('Zebra')['id']}", json={field: value})
        assert [r["name"] for r in home.adapters(search="icksil")] == ["Zebra"]

    def test_filters_by_any_tag_without_case(self, home):
        for name, tags in (("alice", ["Anime", "girl"]), ("Zebra", ["animal"])):
            home.client.patch(f"/v1/adapters/{home.adapter(name)['id']}", json={"tags": tags})
        assert [r["name"] for r in home.adapters(tags="anime,ANIMAL")] == ["alice", "Zebra"]
        assert [r["name"] for r in home.adapters(all_tags="anime,girl")] == ["alice"]
        assert [r["name"] for r in home.adapters(exclude_tags="anime")] == ["ink_v2", "Zebra"]
        assert [r["name"] for r in home.adapters(untagged=True)] == ["ink_v2"]

    def test_sorts_by_name_upwards_and_by_the_others_downwards(self, home):
        by_name = [r["name"] for r in home.adapters(sort="name", order="desc")]
        assert by_name == ["Zebra", "ink_v2", "alice"]
        sizes = [r["primary_file_size_kb"] for r in home.adapters(sort="file_size")]
        assert sizes == sorted(sizes, reverse=True)
        ink = home.adapter("ink_v2")
        home.client.patch(f"/v1/adapters/{ink['id']}", json={"notes": "newest"})
        assert home.adapters(sort="updated_at")[0]["name"] == "ink_v2"

    def test_shuffles_the_same_way_for_the_same_seed(self, home):
        shuffled = [r["name"] for r in home.adapters(sort="random", seed=5)]
        assert shuffled == [r["name"] for r in home.adapters(sort="random", seed=5)]
        assert sorted(shuffled) == sorted(r["name"] for r in home.adapters())

    @pytest.mark.parametrize(
        "query",
        [{"sort": "size"}, {"page": 0}, {"per_page": 0}, {"per_page": 1001}, {"nsfw_max": "x"}],
        ids=str,
    )
    def test_refuses_what_it_does_not_know(self, home, query):
        answer = home.client.get("/v1/adapters", params=query)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"]

    def test_counts_follow_every_change(self, home):
        alice = home.adapter("alice")
        assert home.client.get("/v1/adapters", params={"active_only": True}).json()["filtered"] == 0
        home.client.post(f"/v1/adapters/{alice['id']}/activate")
        assert home.client.get("/v1/adapters", params={"active_only": True}).json()["filtered"] == 1
        home.client.delete(f"/v1/adapters/{alice['id']}")
        assert home.client.get("/v1/adapters").json()["total"] == 2


class TestCreate:
    def test_adopts_the_record_a_scan_made_and_nobody_touched(self, home):
        scanned = home.adapter("alice")
        created = _post(home, "Alice of mine", home.library / "characters/alice.safetensors")
        assert created["id"] == scanned["id"]
        assert created["name"] == "Alice of mine"
        assert created["network_type"] == "lora"
        assert home.client.get("/v1/adapters").json()["total"] == 3

    def test_adds_another_record_for_a_file_somebody_has_edited(self, home):
        alice = home.adapter("alice")
        home.client.patch(f"/v1/adapters/{alice['id']}", json={"notes": "mine"})
        created = _post(home, "second", home.library / "characters/alice.safetensors")
        assert created["id"] != alice["id"]
        assert home.adapter("alice")["notes"] == "mine"

    def test_reads_a_file_no_scan_has_seen(self, home):
        path = write_lora(home.library / "new.safetensors", width=2048)
        created = _post(home, "new one", path, tags=["A", "a", "b"], weight=0.5)
        assert (created["base_model"], created["rank"], created["alpha"]) == ("SDXL", 4, 2.0)
        assert created["tags"] == ["A", "b"]

    def test_keeps_what_was_given_over_the_next_scan(self, home):
        path = home.library / "characters/alice.safetensors"
        created = _post(home, "kept", path, description="by hand", weight=0.3)
        home.scan()
        again = home.client.get(f"/v1/adapters/{created['id']}").json()["adapter"]
        assert (again["name"], again["description"], again["weight"]) == ("kept", "by hand", 0.3)

    def test_same_name_and_version_is_a_conflict(self, home):
        path = write_lora(home.library / "new.safetensors")
        body = {"name": "alice", "file_path": str(path)}
        answer = home.client.post("/v1/adapters", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "adapter_exists")
        assert home.client.post("/v1/adapters", json={**body, "version": "2"}).status_code == 201

    @pytest.mark.parametrize(
        ("make", "says"),
        [
            pytest.param(lambda d: d / "none.safetensors", "does not exist", id="missing"),
            pytest.param(lambda d: d / "notes.txt", "ends in", id="another kind"),
            pytest.param(lambda d: d / "folder.safetensors", "regular file", id="a folder"),
            pytest.param(lambda d: d.parent / "out.safetensors", "must lie inside", id="outside"),
            pytest.param(
                lambda d: d / ".." / "out.safetensors", "must lie inside", id="dot-dot outside"
            ),
            pytest.param(lambda d: d / "link.safetensors", "must lie inside", id="link outside"),
        ],
    )
    def test_refuses_a_file_that_is_none(self, home, make, says):
        (home.library / "notes.txt").write_text("hello")
        (home.library / "folder.safetensors").mkdir()
        outside = write_lora(home.library.parent / "out.safetensors")
        (home.library / "link.safetensors").symlink_to(outside)
        answer = home.client.post(
            "/v1/adapters", json={"name": "n", "file_path": str(make(home.library))}
        )
        assert answer.status_code == 400, answer.text
        assert says in answer.json()["detail"]
        assert home.client.get("/v1/adapters").json()["total"] == 3

    @pytest.mark.parametrize("name", ["a:b", "a>b", "a<b", "a=b", "a\nb"])
    def test_refuses_a_name_no_prompt_can_hold(self, home, name):
        path = home.library / "characters/alice.safetensors"
        answer = home.client.post("/v1/adapters", json={"name": name, "file_path": str(path)})
        assert answer.status_code == 422
        assert "cannot hold" in answer.json()["detail"]


class TestUpdate:
    def test_changes_the_safe_fields(self, home):
        change = {
            "weight": 0.75,
            "active": True,
            "ordinal": 3,
            "tags": ["x"],
            "description": "d",
            "activation_text": "a",
            "trained_words": ["w"],
            "triggers": ["t"],
            "archetype": "hero",
            "archetype_confidence": 0.5,
            "visibility": "Private",
            "nsfw_level": 2,
            "supports_generation": False,
            "sd_version": "SD 1.5",
            "favorite": True,
            "rating": 4,
            "notes": "n",
            "negative_prompt": "bad",
            "weight_min": 0.1,
            "weight_max": 1.2,
            "weight_te": 0.4,
            "trigger_groups": [{"name": "g", "words": ["w"], "required": True}],
            "base_model": "SDXL",
            "name": "Alice 2",
        }
        alice = home.adapter("alice")
        answer = home.client.patch(f"/v1/adapters/{alice['id']}", json=change)
        assert answer.status_code == 200, answer.text
        record = answer.json()["adapter"]
        assert {key: record[key] for key in change} == change
        assert record == home.client.get(f"/v1/adapters/{alice['id']}").json()["adapter"]

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            pytest.param({}, 400, id="empty"),
            pytest.param({"weight": None}, 400, id="null where none may be"),
            pytest.param({"tags": None}, 400, id="null list"),
            pytest.param({"file_path": "/etc/passwd"}, 422, id="a field that is not for changing"),
            pytest.param({"weight": "0.5"}, 422, id="mistyped"),
            pytest.param({"active": 1}, 422, id="a number is no truth value"),
            pytest.param({"rating": 6}, 422, id="out of range"),
            pytest.param({"weight_min": 2.0, "weight_max": 1.0}, 422, id="range upside down"),
            pytest.param({"name": "ink_v2"}, 409, id="a name that is taken"),
            pytest.param({"name": "  "}, 422, id="a blank name"),
        ],
    )
    def test_refuses_and_leaves_everything_as_it_was(self, home, change, status):
        alice = home.adapter("alice")
        answer = home.client.patch(f"/v1/adapters/{alice['id']}", json=change)
        assert answer.status_code == status, answer.text
        assert home.adapter("alice") == alice

    def test_refuses_an_infinity_without_quoting_it(self, home):
        alice = home.adapter("alice")
        answer = home.client.patch(
            f"/v1/adapters/{alice['id']}",
            content='{"weight": 1e999}',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"][-1] == "weight"

    def test_an_unknown_id_is_not_found(self, home):
        answer = home.client.patch("/v1/adapters/nope", json={"weight": 1.0})
        assert (answer.status_code, answer.json()["code"]) == (404, "adapter_not_found")


class TestDelete:
    def test_leaves_the_file_and_is_not_listed_again(self, home):
        alice = home.adapter("alice")
        assert home.client.delete(f"/v1/adapters/{alice['id']}").status_code == 204
        assert Path(alice["file_path"]).exists()
        assert home.scan()["excluded"] == 1
        assert [r["name"] for r in home.adapters()] == ["ink_v2", "Zebra"]
        assert home.client.delete(f"/v1/adapters/{alice['id']}").status_code == 404

    def test_can_be_taken_back(self, home):
        alice = home.adapter("alice")
        home.client.delete(f"/v1/adapters/{alice['id']}")
        excluded = home.client.get("/v1/library/excluded").json()["excluded"]
        assert [e["file_path"] for e in excluded] == [alice["file_path"]]
        body = {"file_path": alice["file_path"]}
        assert home.client.post("/v1/library/excluded/restore", json=body).status_code == 204
        home.scan()
        assert home.adapter("alice")["id"] != alice["id"]


class TestActivate:
    def test_takes_the_place_from_query_or_body(self, home):
        alice = home.adapter("alice")["id"]
        by_query = home.client.post(f"/v1/adapters/{alice}/activate", params={"ordinal": 4})
        assert by_query.json()["adapter"]["ordinal"] == 4
        by_body = home.client.post(f"/v1/adapters/{alice}/activate", json={"ordinal": 2})
        assert (by_body.json()["adapter"]["ordinal"], by_body.json()["adapter"]["active"]) == (
            2,
            True,
        )
        off = home.client.post(f"/v1/adapters/{alice}/deactivate").json()["adapter"]
        assert off["active"] is False

    def test_an_unknown_id_is_not_found(self, home):
        assert home.client.post("/v1/adapters/nope/activate").status_code == 404


class TestBulk:
    def test_changes_all_of_them(self, home):
        ids = [record["id"] for record in home.adapters()]
        answer = home.client.post(
            "/v1/adapters/bulk", json={"action": "activate", "lora_ids": ids}
        ).json()
        assert answer.pop("undo_id")
        assert answer == {"success": True, "action": "activate", "processed": 3, "ids": ids}
        assert len(home.adapters(active_only=True)) == 3

    def test_one_unknown_id_changes_nothing_and_is_named(self, home):
        ids = [home.adapter("alice")["id"], "ghost"]
        body = {"action": "delete", "lora_ids": ids}
        answer = home.client.post("/v1/adapters/bulk", json=body)
        assert (answer.status_code, answer.json()["unknown_ids"]) == (404, ["ghost"])
        assert len(home.adapters()) == 3
        skipped = home.client.post("/v1/adapters/bulk", json={**body, "skip_unknown": True})
        assert skipped.json()["processed"] == 1
        assert len(home.adapters()) == 2

    def test_tags_untags_and_sets(self, home):
        ids = [record["id"] for record in home.adapters()]

        def _bulk(**body: object) -> None:
            answer = home.client.post("/v1/adapters/bulk", json={"lora_ids": ids, **body})
            assert answer.status_code == 200, answer.text

        _bulk(action="tag", tags=["One", "two"])
        assert home.client.get("/v1/adapters/tags").json() == {"tags": ["One", "two"]}
        _bulk(action="untag", tags=["ONE"])
        assert all(record["tags"] == ["two"] for record in home.adapters())
        _bulk(action="set", values={"rating": 3})
        assert all(record["rating"] == 3 for record in home.adapters())

    @pytest.mark.parametrize("action", ["tag", "untag", "set"])
    def test_needs_what_it_is_to_do(self, home, action):
        body = {"action": action, "lora_ids": []}
        assert home.client.post("/v1/adapters/bulk", json=body).status_code == 400


class TestPreview:
    def test_is_served_with_ranges(self, home):
        (home.library / "characters" / "alice.png").write_bytes(bytes(range(100)))
        home.scan()
        url = home.adapter("alice")["preview_url"]
        whole = home.client.get(url)
        assert (whole.status_code, whole.headers["content-type"]) == (200, "image/png")
        part = home.client.get(url, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, bytes(range(10, 20)))

    def test_never_leaves_the_roots(self, home):
        secret = home.library.parent / "secret.png"
        secret.write_bytes(b"secret")
        (home.library / "characters" / "alice.png").symlink_to(secret)
        home.scan()
        url = f"/v1/adapters/{home.adapter('alice')['id']}/preview"
        assert home.client.get(url).status_code in (400, 404)

    def test_without_one_is_not_found(self, home):
        assert home.adapter("alice")["preview_url"] is None
        answer = home.client.get(f"/v1/adapters/{home.adapter('alice')['id']}/preview")
        assert answer.status_code == 404

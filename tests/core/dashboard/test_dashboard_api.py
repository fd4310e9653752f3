"""Section 6 of the contract over HTTP: numbers, featured adapters, what went on."""

from __future__ import annotations

import pytest

from lora_manager_core.common.clock import utc_after
from lora_manager_core.dashboard.schemas import ActivityFeed, DashboardStats, FeaturedAdapters
from lora_manager_core.db.models import Adapter
from lora_manager_core.errors import GenerationFailed
from tests.fakes.runs import add_run

_ORDER = {"prompt": "a fox <lora:alice:0.5>", "steps": 1, "width": 64, "height": 64}


def _stats(home):
    return home.client.get("/v1/dashboard/stats").json()


def _featured(home, **query):
    answer = home.client.get("/v1/dashboard/featured-loras", params=query)
    assert answer.status_code == 200, answer.text
    return [record["name"] for record in answer.json()["items"]]


def _feed(home, **query):
    answer = home.client.get("/v1/dashboard/activity-feed", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _set(home, name, **columns):
    """Change columns of a record as no request could."""
    with home.application.database.write() as session:
        adapter = session.get(Adapter, _pk(session, name))
        for column, value in columns.items():
            setattr(adapter, column, value)


def _pk(session, name):
    return session.query(Adapter.pk).filter(Adapter.name == name).scalar()


def _patch(home, name, **fields):
    answer = home.client.patch(f"/v1/adapters/{home.adapter(name)['id']}", json=fields)
    assert answer.status_code == 200, answer.text


class TestStats:
    def test_are_read_from_their_sources(self, home):
        answer = _stats(home)
        DashboardStats.model_validate(answer, strict=True)
        assert answer["stats"] == {
            "total_loras": 3,
            "active_loras": 0,
            "embeddings_coverage": None,
            "recent_imports": 3,
            "active_jobs": 0,
        }
        assert answer["reasons"]["stats.embeddings_coverage"]
        health = answer["system_health"]
        assert (health["status"], health["queue_status"]) == ("ready", "idle")
        on_disk = sum(path.stat().st_size for path in home.library.rglob("*.safetensors"))
        assert health["storage_usage"]["library_bytes"] == on_disk
        assert {disk["role"] for disk in health["storage_usage"]["disks"]} == {
            "data",
            "outputs",
            "library",
        }
        assert (health["gpu_memory"] is None) == ("system_health.gpu_memory" in answer["reasons"])

    def test_follow_every_change(self, home):
        before = _stats(home)["stats"]
        home.client.post(f"/v1/adapters/{home.adapter('alice')['id']}/activate")
        home.client.delete(f"/v1/adapters/{home.adapter('Zebra')['id']}")
        after = _stats(home)["stats"]
        assert (before["total_loras"], before["active_loras"]) == (3, 0)
        assert (after["total_loras"], after["active_loras"]) == (2, 1)

    def test_recent_is_the_last_seven_days(self, home):
        _set(home, "alice", created_at=utc_after(-8 * 24 * 3600))
        _set(home, "Zebra", created_at=utc_after(-6 * 24 * 3600))
        assert _stats(home)["stats"]["recent_imports"] == 2

    def test_count_jobs_that_wait_or_run(self, home):
        home.backend.gate.clear()
        try:
            for _ in range(2):
                home.client.post(
                    "/v1/generation/generate", params={"mode": "deferred"}, json=_ORDER
                )
            assert home.backend.started.wait(20)
            answer = _stats(home)
        finally:
            home.backend.gate.set()
        assert answer["stats"]["active_jobs"] == 2
        assert answer["system_health"]["queue_status"] == "busy"

    def test_of_an_empty_library_are_zero(self, make_home):
        answer = _stats(make_home(library_roots=()))
        assert answer["stats"]["total_loras"] == 0
        assert answer["system_health"]["storage_usage"]["library_bytes"] == 0


class TestFeatured:
    def test_gives_full_records_and_the_rule(self, home):
        (home.library / "characters" / "alice.png").write_bytes(b"png")
        home.scan()
        answer = home.client.get("/api/v1/dashboard/featured-loras").json()
        FeaturedAdapters.model_validate(answer, strict=True)
        assert "Favourites first" in answer["rule"]
        alice = next(record for record in answer["items"] if record["name"] == "alice")
        listed = home.client.get(f"/api/v1/adapters/{alice['id']}").json()["adapter"]
        assert alice == listed
        assert alice["preview_url"].startswith("/api/v1/adapters/")

    def test_favourites_come_before_ratings_before_use_before_age(self, home):
        _set(home, "alice", created_at=utc_after(-300))
        _set(home, "ink_v2", created_at=utc_after(-200))
        _set(home, "Zebra", created_at=utc_after(-100))
        assert _featured(home) == ["Zebra", "ink_v2", "alice"]
        database = home.application.database
        alice, ink = home.adapter("alice")["id"], home.adapter("ink_v2")["id"]
        add_run(database, utc_after(-60), {ink: 0.8})
        add_run(database, utc_after(-60), {ink: 0.8, alice: 1.0})
        assert _featured(home) == ["ink_v2", "alice", "Zebra"]
        _patch(home, "Zebra", rating=1)
        assert _featured(home) == ["Zebra", "ink_v2", "alice"]
        _patch(home, "alice", favorite=True)
        assert _featured(home) == ["alice", "Zebra", "ink_v2"]
        assert _featured(home, limit=1) == ["alice"]

    def test_runs_of_more_than_thirty_days_ago_do_not_count(self, home):
        _set(home, "alice", created_at=utc_after(-300))
        _set(home, "ink_v2", created_at=utc_after(-200))
        _set(home, "Zebra", created_at=utc_after(-100))
        add_run(
            home.application.database,
            utc_after(-31 * 24 * 3600),
            {home.adapter("alice")["id"]: 1.0},
        )
        assert _featured(home) == ["Zebra", "ink_v2", "alice"]

    def test_what_is_missing_is_left_out(self, home):
        _patch(home, "alice", favorite=True)
        (home.library / "characters" / "alice.safetensors").unlink()
        home.scan()
        assert "alice" not in _featured(home)

    def test_an_empty_library_features_nothing(self, make_home):
        assert _featured(make_home(library_roots=())) == []

    @pytest.mark.parametrize("limit", [0, 101, "x"])
    def test_refuses_other_limits(self, home, limit):
        answer = home.client.get("/v1/dashboard/featured-loras", params={"limit": limit})
        assert answer.status_code == 422


class TestActivity:
    def test_tells_of_scans_and_of_what_they_found(self, home):
        feed = _feed(home)
        ActivityFeed.model_validate(feed, strict=True)
        types = [event["type"] for event in feed["events"]]
        assert types.count("adapter_added") == 3
        scans = [event for event in feed["events"] if event["type"] == "scan_completed"]
        assert any("3 found, 3 added" in str(scan["detail"]) for scan in scans)
        assert feed["next"] is None
        times = [event["at"] for event in feed["events"]]
        assert times == sorted(times, reverse=True)

    def test_tells_of_a_picture_and_links_to_it_while_it_is_there(self, home):
        made = home.client.post("/v1/generation/generate", json=_ORDER).json()
        event = _feed(home, limit=1)["events"][0]
        assert (event["type"], event["job_id"]) == ("generation_completed", made["job_id"])
        assert (event["title"], event["detail"]) == ("a fox", "1 picture")
        assert home.client.get(event["image_url"]).headers["content-type"] == "image/png"
        unsaved = home.client.post(
            "/v1/generation/generate", params={"save_images": False}, json=_ORDER
        ).json()
        event = _feed(home, limit=1)["events"][0]
        assert (event["job_id"], event["image_url"]) == (unsaved["job_id"], None)

    def test_tells_why_a_job_failed(self, home):
        home.backend.error = GenerationFailed("It broke; look there.")
        home.client.post("/v1/generation/generate", json=_ORDER)
        event = _feed(home, limit=1)["events"][0]
        assert (event["type"], event["detail"]) == ("generation_failed", "It broke; look there.")

    def test_tells_of_a_change_by_hand(self, home):
        _patch(home, "alice", notes="good")
        event = _feed(home, limit=1)["events"][0]
        assert (event["type"], event["title"]) == ("adapter_changed", "alice")
        assert event["adapter_id"] == home.adapter("alice")["id"]
        assert "notes" in event["detail"]

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_pages_meet_without_gap_or_double(self, home, limit):
        same = "2026-07-23T11:48:34.000000Z"
        for name in ("alice", "ink_v2", "Zebra"):  # several events of one moment
            _set(home, name, created_at="2026-07-23T11:00:00.000000Z", updated_at=same)
        _set(home, "Zebra", created_at=same)
        whole = _feed(home, limit=200)["events"]
        assert len(whole) >= 6
        paged, before = [], None
        while True:
            page = _feed(home, limit=limit, **({"before": before} if before else {}))
            assert len(page["events"]) <= limit
            paged += page["events"]
            before = page["next"]
            if before is None:
                break
        assert paged == whole

    def test_before_a_time_means_older_than_it(self, home):
        at = "2026-07-23T11:48:34.500000Z"
        for name in ("alice", "ink_v2", "Zebra"):
            _set(home, name, created_at=at, updated_at=at)
        assert _feed(home, before=at)["events"] == []
        later = _feed(home, before="2026-07-23T13:48:34.51+02:00")["events"]
        assert {event["at"] for event in later} == {at}

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": 0},
            {"limit": 201},
            {"before": "yesterday"},
            {"before": "2026-13-01T00:00:00Z"},
            {"before": "2026-07-23"},
        ],
        ids=str,
    )
    def test_refuses_what_is_no_page(self, home, query):
        answer = home.client.get("/v1/dashboard/activity-feed", params=query)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"

"""Usage over time: what is counted, into which step, and for whom."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from lora_manager_core.common.clock import utc_after, utc_text
from lora_manager_core.dashboard.schemas import Usage, UsageQuery
from lora_manager_core.dashboard.usage import bucket_starts, count_usage
from lora_manager_core.dashboard.usage_repository import UsageRecords
from tests.fakes.runs import add_run

#: A Wednesday.
_NOW = datetime(2026, 7, 22, 15, 30, tzinfo=timezone.utc)


def _count(database, **asked) -> Usage:
    with database.read() as session:
        return count_usage(UsageRecords(session), UsageQuery(**asked), _NOW)


def _ago(**span) -> str:
    return utc_text(_NOW - timedelta(**span))


class TestSteps:
    def test_days_are_filled_with_zeros(self, database):
        add_run(database, _ago(hours=1), images=4)
        add_run(database, _ago(days=2), duration_s=None)
        add_run(database, _ago(days=3))
        usage = _count(database, days=3)
        assert [(step.start[:10], step.runs, step.images) for step in usage.series] == [
            ("2026-07-20", 1, 1),
            ("2026-07-21", 0, 0),
            ("2026-07-22", 1, 4),
        ]
        assert [step.duration_s for step in usage.series] == [None, 0.0, 2.0]
        assert (usage.total_runs, usage.total_images) == (2, 5)
        assert usage.since == "2026-07-20T00:00:00.000000Z"

    def test_hours_begin_at_midnight(self, database):
        add_run(database, "2026-07-22T00:00:00.000000Z")
        add_run(database, "2026-07-21T23:59:59.999999Z")
        add_run(database, "2026-07-22T15:29:00.000000Z")
        usage = _count(database, days=1, bucket="hour")
        assert [step.runs for step in usage.series] == [1, *[0] * 14, 1]
        assert usage.series[-1].start == "2026-07-22T15:00:00.000000Z"

    def test_weeks_begin_on_monday_and_are_whole(self, database):
        for day in ("2026-07-12", "2026-07-13", "2026-07-19", "2026-07-20"):
            add_run(database, f"{day}T12:00:00.000000Z")
        usage = _count(database, days=7, bucket="week")
        assert [(step.start[:10], step.runs) for step in usage.series] == [
            ("2026-07-13", 2),
            ("2026-07-20", 1),
        ]

    def test_a_year_of_days_has_no_gap(self):
        starts = bucket_starts(366, "day", _NOW)
        assert len(set(starts)) == 366
        assert starts[-1] == datetime(2026, 7, 22, tzinfo=timezone.utc)


class TestGroups:
    @pytest.fixture
    def home(self, home):
        home.client.patch(
            f"/v1/adapters/{home.adapter('Zebra')['id']}", json={"base_model": "SDXL"}
        )
        for name in ("alice", "ink_v2"):
            home.client.patch(
                f"/v1/adapters/{home.adapter(name)['id']}", json={"base_model": "SD 1.5"}
            )
        database = home.application.database
        alice, ink, zebra = (home.adapter(name)["id"] for name in ("alice", "ink_v2", "Zebra"))
        add_run(database, utc_after(0), {alice: 0.5, ink: 1.0}, images=4, model="dream")
        add_run(database, utc_after(-24 * 3600), {alice: 0.8}, images=2, model="dream")
        add_run(database, utc_after(-24 * 3600), {alice: 0.8, zebra: -1.0}, images=3, model="ink")
        add_run(database, utc_after(0), {None: 0.3}, model=None)
        return home

    def _usage(self, home, by, **query):
        answer = home.client.get("/v1/dashboard/usage", params={"days": 3, "by": by, **query})
        assert answer.status_code == 200, answer.text
        Usage.model_validate(answer.json(), strict=True)
        return answer.json()

    def test_adapters_have_their_runs_pictures_and_mean_strength(self, home):
        usage = self._usage(home, "adapter")
        seen = [
            (group["name"], group["runs"], group["images"], group["mean_weight"])
            for group in usage["groups"]
        ]
        assert seen == [
            ("alice", 3, 9, 0.7),
            ("ink_v2", 1, 4, 1.0),
            ("Zebra", 1, 3, -1.0),
            ("gone", 1, 1, 0.3),
        ]
        assert usage["groups"][0]["runs_by_bucket"] == [0, 2, 1]
        assert usage["groups"][0]["adapter_id"] == home.adapter("alice")["id"]
        assert usage["groups"][3]["adapter_id"] is None
        assert (usage["total_runs"], usage["total_images"]) == (4, 10)

    def test_a_deleted_record_keeps_its_runs(self, home):
        home.client.delete(f"/v1/adapters/{home.adapter('ink_v2')['id']}")
        groups = self._usage(home, "adapter")["groups"]
        assert [(g["name"], g["adapter_id"], g["runs"]) for g in groups if g["name"] == "gone"] == [
            ("gone", None, 2)
        ]

    def test_a_run_counts_once_for_a_base_model(self, home):
        groups = self._usage(home, "base_model")["groups"]
        assert [(g["key"], g["runs"], g["images"], g["mean_weight"]) for g in groups] == [
            ("SD 1.5", 3, 9, None),
            ("SDXL", 1, 3, None),
            (None, 1, 1, None),
        ]

    def test_checkpoints(self, home):
        groups = self._usage(home, "model")["groups"]
        assert [(g["key"], g["runs"], g["images"]) for g in groups] == [
            ("dream", 2, 6),
            ("ink", 1, 3),
            (None, 1, 1),
        ]

    def test_only_the_most_used_are_named(self, home):
        usage = self._usage(home, "adapter", limit=1)
        assert [group["name"] for group in usage["groups"]] == ["alice"]
        assert usage["groups_left_out"] == 3


class TestQuery:
    def test_what_is_kept_follows_the_next_run(self, home):
        def _runs() -> int:
            return home.client.get("/v1/dashboard/usage").json()["total_runs"]

        assert (_runs(), _runs()) == (0, 0)
        add_run(home.application.database, utc_after(0))
        assert _runs() == 1

    def test_nothing_ran_yet(self, home):
        usage = home.client.get("/v1/dashboard/usage").json()
        assert (len(usage["series"]), usage["total_runs"], usage["groups"]) == (30, 0, [])

    def test_a_generation_that_ran_is_counted(self, home):
        order = {"prompt": "<lora:alice:0.5>", "steps": 1, "width": 64, "height": 64}
        home.client.post("/v1/generation/generate", json=order)
        usage = home.client.get("/v1/dashboard/usage", params={"days": 1}).json()
        assert [(g["name"], g["runs"], g["mean_weight"]) for g in usage["groups"]] == [
            ("alice", 1, 0.5)
        ]

    @pytest.mark.parametrize(
        "query",
        [
            {"days": 0},
            {"days": 10_000},
            {"bucket": "month"},
            {"by": "mood"},
            {"limit": 0},
            {"days": 32, "bucket": "hour"},
        ],
        ids=str,
    )
    def test_refuses_what_is_no_stretch_of_time(self, home, query):
        answer = home.client.get("/v1/dashboard/usage", params=query)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"

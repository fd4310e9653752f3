"""Embeddings through the API: computed, skipped, stale after an edit, refused, shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from lora_manager_core.db import counters
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import EmbeddingUnavailable
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.recommendations.vectors.repository import StoredText, TextVectorStore
from lora_manager_core.recommendations.vectors.text_job import TEXT_JOB
from tests.core.conftest import Home
from tests.fakes.text_models import FakeEmbedder

COMPUTE = "/v1/recommendations/embeddings/compute"


@pytest.fixture
def model() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def home(make_home: Callable[..., Home], model: FakeEmbedder) -> Home:
    """A scanned library with a text model, of which nothing was embedded yet."""
    return make_home(model)


def compute(home: Home, **body: Any) -> dict[str, Any]:
    answer = home.client.post(COMPUTE, json=body or {"compute_all": True})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def status(home: Home, adapter_id: str) -> dict[str, Any]:
    answer = home.client.get(f"/v1/recommendations/embeddings/{adapter_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def rows(home: Home) -> dict[str, StoredText]:
    with home.application.services.get(Database).read() as session:
        return {row.adapter_id: row for row in TextVectorStore(session).changed_since(0)}


def revision(home: Home) -> int:
    with home.application.services.get(Database).read() as session:
        return counters.read_counter(session, counters.EMBEDDINGS)


def text_states(home: Home) -> dict[str, int]:
    counts: dict[str, int] = home.client.get("/v1/recommendations/embeddings").json()["text"]
    return counts


class TestComputing:
    def test_all_gives_each_adapter_a_vector_of_its_text(self, home: Home) -> None:
        report = compute(home)

        assert (report["processed_count"], report["error_count"]) == (3, 0)
        assert report["completed_at"].endswith("Z")
        stored = rows(home)
        assert {record["id"] for record in home.adapters()} == set(stored)
        assert {len(row.text_vector or b"") for row in stored.values()} == {64 * 2}
        assert text_states(home) == {"current": 3}

    def test_what_is_current_is_skipped(self, home: Home, model: FakeEmbedder) -> None:
        compute(home)
        before, model.batches = revision(home), []

        report = compute(home)

        assert (report["processed_count"], report["skipped_count"]) == (0, 3)
        assert (revision(home), model.batches) == (before, [])

    def test_forced_it_is_computed_again(self, home: Home, model: FakeEmbedder) -> None:
        compute(home)
        model.batches = []

        compute(home, compute_all=True, force_recompute=True)

        assert sum(map(len, model.batches)) == 6  # a text and tags of three adapters

    def test_named_adapters_alone(self, home: Home) -> None:
        wanted = home.adapter("alice")["id"]

        report = compute(home, adapter_ids=[wanted, wanted])

        assert report["processed_count"] + report["skipped_count"] == 1
        assert set(rows(home)) == {wanted}

    def test_one_adapter_by_its_own_route(self, home: Home) -> None:
        wanted = home.adapter("alice")["id"]

        answer = home.client.post(f"/v1/recommendations/embeddings/{wanted}/compute")

        assert answer.status_code == 200
        assert set(rows(home)) == {wanted}

    def test_the_profile_of_the_weights_comes_along(self, home: Home) -> None:
        compute(home, compute_all=True)
        profile = status(home, home.adapter("alice")["id"])["weights"]["profile"]
        assert (profile["modules"], profile["rank"]) == (1, 4)
        assert 0 < profile["r95"] <= 4
        assert profile["blocks"]["in"]["share"] == 1.0

    def test_in_the_background_it_answers_at_once(self, home: Home) -> None:
        answer = home.client.post(COMPUTE, json={"compute_all": True, "background": True})

        assert answer.status_code == 202
        assert answer.json()["completed_at"] is None
        job = home.application.services.get(Jobs).wait(answer.json()["job_id"], 30)
        assert (job.status, job.kind) == ("succeeded", TEXT_JOB)
        assert len(rows(home)) == 3

    def test_batches_are_as_large_as_asked_and_stored_one_by_one(
        self, home: Home, model: FakeEmbedder
    ) -> None:
        seen: list[int] = []
        model.before_batch = lambda: seen.append(len(rows(home)))

        compute(home, compute_all=True, batch_size=1)

        assert seen == [0, 0, 1, 1, 2, 2]


class TestChanges:
    def test_another_description_makes_it_stale_and_computed(self, home: Home) -> None:
        compute(home)
        adapter_id, before = home.adapter("alice")["id"], rows(home)
        home.client.patch(f"/v1/adapters/{adapter_id}", json={"description": "a red fox in snow"})

        assert status(home, adapter_id)["text"]["state"] == "stale"
        assert status(home, adapter_id)["needs_recomputation"] is True
        assert compute(home)["processed_count"] == 1

        after = rows(home)
        assert after[adapter_id].text_vector != before[adapter_id].text_vector
        assert after[adapter_id].revision > before[adapter_id].revision
        assert status(home, adapter_id)["text"]["state"] == "current"

    def test_a_change_of_no_word_costs_no_embedding(self, home: Home, model: FakeEmbedder) -> None:
        compute(home)
        adapter_id, before, model.batches = home.adapter("alice")["id"], revision(home), []
        home.client.patch(f"/v1/adapters/{adapter_id}", json={"weight": 0.5})

        assert compute(home)["processed_count"] == 0

        assert (model.batches, revision(home)) == ([], before)
        assert text_states(home) == {"current": 3}

    def test_a_deleted_adapter_takes_its_vectors_along(self, home: Home) -> None:
        compute(home)
        adapter_id = home.adapter("alice")["id"]
        home.client.delete(f"/v1/adapters/{adapter_id}")

        assert adapter_id not in rows(home)
        assert home.client.get(f"/v1/recommendations/embeddings/{adapter_id}").status_code == 404

    def test_another_model_makes_all_stale(self, home: Home, model: FakeEmbedder) -> None:
        compute(home)
        model.name = "fake@2"

        assert text_states(home) == {"stale": 3}
        assert compute(home)["processed_count"] == 3
        assert {row.model_key for row in rows(home).values()} == {"fake@2"}

    def test_an_adapter_without_words_is_no_failure(self, home: Home) -> None:
        adapter_id = home.adapter("alice")["id"]
        home.client.patch(
            f"/v1/adapters/{adapter_id}",
            json={"name": "v2", "trained_words": [], "tags": [], "description": "12345"},
        )

        report = compute(home)

        assert report["error_count"] == 0
        shown = status(home, adapter_id)
        assert shown["text"] == {
            **shown["text"],
            "state": "no_text",
            "problem": None,
        }
        assert shown["has_semantic_embedding"] is False


class TestFailures:
    def test_a_text_that_cannot_be_embedded_is_told_and_the_others_go_on(
        self, home: Home, model: FakeEmbedder
    ) -> None:
        model.refuses = "alice"
        adapter_id = home.adapter("alice")["id"]

        report = compute(home)

        assert report["error_count"] == 1
        (error,) = report["errors"]
        assert (error["adapter_id"], error["kind"]) == (adapter_id, "text")
        assert text_states(home) == {"current": 2, "failed": 1}
        assert "no such token" in status(home, adapter_id)["text"]["problem"]

    def test_it_is_not_tried_again_for_the_same_text_unless_forced(
        self, home: Home, model: FakeEmbedder
    ) -> None:
        model.refuses = "alice"
        compute(home)
        model.refuses = None

        assert compute(home)["processed_count"] == 0
        assert compute(home, compute_all=True, force_recompute=True)["error_count"] == 0
        assert text_states(home) == {"current": 3}

    def test_a_vector_that_is_not_finite_is_a_problem(
        self, home: Home, model: FakeEmbedder
    ) -> None:
        model.nan = "ink"

        assert compute(home)["error_count"] == 1
        assert text_states(home) == {"current": 2, "failed": 1}

    def test_a_broken_model_fails_the_call_and_no_adapter(
        self, home: Home, model: FakeEmbedder
    ) -> None:
        model.is_broken = True

        answer = home.client.post(COMPUTE, json={"compute_all": True})

        assert (answer.status_code, answer.json()["code"]) == (424, "embedding_unavailable")
        assert text_states(home) == {"missing": 3}

    def test_a_model_that_cannot_be_loaded_says_why_and_is_tried_again_when_asked(
        self, home: Home, model: FakeEmbedder
    ) -> None:
        model.failure = EmbeddingUnavailable("The folder /x does not exist.")

        answers = [home.client.post(COMPUTE, json={"compute_all": True}) for _ in range(2)]
        model.failure = None
        report = compute(home)

        assert [answer.status_code for answer in answers] == [424, 424]
        assert "/x does not exist" in answers[1].json()["detail"]
        assert model.loads == 3
        assert report["processed_count"] == 3

    def test_unknown_ids_are_named_and_nothing_is_begun(self, home: Home) -> None:
        known = home.adapter("alice")["id"]

        answer = home.client.post(COMPUTE, json={"adapter_ids": [known, "nobody"]})

        assert (answer.status_code, answer.json()["code"]) == (404, "adapter_not_found")
        assert "nobody" in answer.json()["detail"]
        assert known not in answer.json()["detail"]
        assert rows(home) == {}

    def test_nothing_asked_for_is_refused(self, home: Home) -> None:
        answer = home.client.post(COMPUTE, json={})

        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    @pytest.mark.parametrize("batch_size", [0, 129, 1.5, "8"])
    def test_an_odd_batch_size_is_refused(self, home: Home, batch_size: object) -> None:
        answer = home.client.post(COMPUTE, json={"compute_all": True, "batch_size": batch_size})

        assert answer.status_code == 422

    def test_without_the_extra_it_is_named_and_weights_are_looked_at(
        self, make_home: Callable[..., Home]
    ) -> None:
        home = make_home()

        answer = home.client.post(COMPUTE, json={"compute_all": True})

        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (424, "extra_not_installed")
        assert "semantic" in problem["detail"]
        for job_id in problem["job_ids"].values():
            assert home.application.services.get(Jobs).wait(job_id, 60).status == "succeeded"
        shown = home.client.get("/v1/recommendations/embeddings").json()
        assert shown["mode"] == "lexical"
        assert "semantic" in shown["hint"]


class TestByThemselves:
    def test_a_scan_has_new_adapters_embedded(
        self, make_home: Callable[..., Home], model: FakeEmbedder
    ) -> None:
        embedded = threading.Event()
        model.before_batch = embedded.set

        home = make_home(model, auto_embed=True)

        assert embedded.wait(30)
        jobs = home.client.get("/v1/recommendations/embeddings").json()["jobs"]
        for job in jobs:
            home.application.services.get(Jobs).wait(job["id"], 30)
        assert text_states(home) == {"current": 3}

    def test_without_the_extra_nothing_is_submitted_and_nothing_fails(
        self, make_home: Callable[..., Home]
    ) -> None:
        home = make_home(auto_embed=True)

        metrics = home.client.get("/v1/recommendations/embeddings").json()
        assert TEXT_JOB not in {job["kind"] for job in metrics["jobs"]}
        assert metrics["text"] == {"missing": 3}


class TestCancelling:
    def test_what_was_stored_stays_and_the_next_job_does_the_rest(
        self, home: Home, model: FakeEmbedder
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def _wait() -> None:
            if len(model.batches) == 2:  # the text and the tags of the first adapter
                begun.set()
                assert go_on.wait(30)

        model.before_batch = _wait
        job_id = home.client.post(
            COMPUTE, json={"compute_all": True, "background": True, "batch_size": 1}
        ).json()["job_id"]
        assert begun.wait(30)
        jobs = home.application.services.get(Jobs)
        jobs.cancel(job_id)
        go_on.set()

        assert jobs.wait(job_id, 30).status == "cancelled"
        stored = set(rows(home))
        assert 1 <= len(stored) < 3
        model.before_batch, model.batches = lambda: None, []

        compute(home)
        assert sum(map(len, model.batches)) == 2 * (3 - len(stored))
        assert text_states(home) == {"current": 3}

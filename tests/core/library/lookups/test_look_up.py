"""Look-ups as people use them: what is asked, what is filled, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import update

from lora_manager_core.db.models import Adapter, LookUp
from lora_manager_core.library.lookups.civitai import CivitaiProvider
from lora_manager_core.queueing.service import Jobs
from tests.fakes.civitai import FakeCivitai

SHAS = {"alice": "aa" * 32, "ink_v2": "bb" * 32, "Zebra": None}


@pytest.fixture
def civitai() -> Iterator[FakeCivitai]:
    with FakeCivitai() as server:
        yield server


@pytest.fixture
def home(make_home, civitai):
    """A home that may look up, where two of three files are hashed."""
    home = make_home(look_up=True, civitai_url=civitai.url, civitai_key="secret", auto_hash=False)
    home.application.services.get(CivitaiProvider).pause_s = 0.0
    with home.application.database.write() as session:
        for name, sha256 in SHAS.items():
            session.execute(
                update(Adapter).where(Adapter.name == name).values(primary_file_sha256=sha256)
            )
    return home


def look_up(home, **request: Any) -> dict[str, Any]:
    """The job's result."""
    answer = home.client.post("/v1/library/look-up", json=request)
    assert answer.status_code == 202, answer.text
    job = home.application.services.get(Jobs).wait(answer.json()["job_id"], 30)
    assert job.status == "succeeded", job.error
    return job.result or {}


def picture() -> bytes:
    content = BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    return content.getvalue()


class TestAsking:
    def test_fills_what_is_empty_and_leaves_what_a_person_wrote(self, home, civitai):
        version = civitai.add_version(SHAS["alice"])
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"tags": ["mine"], "nsfw_level": 1})

        report = look_up(home)

        told = {name: report[name] for name in ("asked", "found", "not_found", "waiting", "filled")}
        assert told == {"asked": 2, "found": 1, "not_found": 1, "waiting": 1, "filled": 1}
        record = home.adapter("alice")
        assert (record["tags"], record["nsfw_level"]) == (["mine"], 1)
        assert (record["description"], record["author_username"]) == ("A hero", "somebody")
        assert record["trained_words"] == ["hero"]
        assert (record["source_model_id"], record["source_version_id"]) == ("11", "22")
        assert record["stats"] == {"downloadCount": 5}
        assert record["primary_file_download_url"] == "https://civitai.example/22"
        assert record["primary_file_sha256"] == SHAS["alice"]
        assert (record["base_model"], record["extra"]["sources"]["description"]) == (
            "SD 1.5",
            "look-up",
        )
        kept = home.client.get(f"/v1/adapters/{alice}/look-up").json()
        assert (kept["state"], kept["answer"]["images"]) == ("found", version["images"])

    def test_a_side_file_that_comes_later_is_richer_and_a_poorer_one_is_not(self, home, civitai):
        civitai.add_version(SHAS["alice"])
        look_up(home)
        folder = home.library / "characters"
        (folder / "alice.txt").write_text("poor")
        home.scan()
        assert home.adapter("alice")["description"] == "A hero"
        (folder / "alice.json").write_text('{"description": "mine"}')
        home.scan()
        assert home.adapter("alice")["description"] == "mine"
        assert home.adapter("alice")["trained_words"] == ["hero"]

    def test_asks_for_nothing_twice_unless_told_or_a_month_has_passed(self, home, civitai):
        civitai.add_version(SHAS["alice"])
        look_up(home)
        civitai.asked()
        assert (look_up(home)["known"], civitai.asked()) == (2, [])
        with home.application.database.write() as session:
            session.execute(update(LookUp).values(asked_at="2024-01-01T00:00:00.000000Z"))
        look_up(home)
        assert civitai.asked() == [f"/api/v1/model-versions/by-hash/{SHAS['ink_v2']}"]
        assert look_up(home, again=True)["asked"] == 2

    def test_only_chosen_adapters(self, home, civitai):
        ink = home.adapter("ink_v2")["id"]
        assert look_up(home, adapter_ids=[ink])["asked"] == 1
        assert look_up(home, filter={"folder": "characters"})["asked"] == 1
        both = {"adapter_ids": [ink], "filter": {}}
        assert home.client.post("/v1/library/look-up", json=both).status_code == 400
        unknown = {"adapter_ids": ["none"]}
        assert home.client.post("/v1/library/look-up", json=unknown).status_code == 404
        wrong = {"filter": {"colour": "red"}}
        assert home.client.post("/v1/library/look-up", json=wrong).status_code == 422

    def test_what_fails_for_a_moment_is_asked_again_in_the_end(self, home, civitai):
        civitai.answers += [(503, {}, b""), (429, {"Retry-After": "0.2"}, b"")]
        report = look_up(home)
        assert (report["asked"], report["failed"]) == (2, 0)

    def test_a_provider_that_keeps_failing_is_given_up_and_answers_are_kept(self, home, civitai):
        civitai.answers += [(404, {}, b""), *[(503, {}, b"")] * 2]
        report = look_up(home)
        assert (report["asked"], report["failed"]) == (1, 1)
        assert "fails" in report["errors"][0]["detail"]

    def test_a_wrong_key_ends_the_job_with_what_to_do(self, home, civitai):
        civitai.answers.append((401, {}, b""))
        job_id = home.client.post("/v1/library/look-up").json()["job_id"]
        job = home.application.services.get(Jobs).wait(job_id, 30)
        assert (job.status, job.error["code"]) == ("failed", "provider_refused")
        assert "CIVITAI_KEY" in job.error["detail"]

    def test_states(self, home):
        for name, state in (("alice", "never_asked"), ("Zebra", "waiting")):
            url = f"/v1/adapters/{home.adapter(name)['id']}/look-up"
            assert home.client.get(url).json()["state"] == state
        assert home.client.get("/v1/adapters/none/look-up").status_code == 404


class TestOff:
    def test_nothing_is_asked_unless_the_setting_says_so(self, make_home, civitai):
        home = make_home(civitai_url=civitai.url)
        answer = home.client.post("/v1/library/look-up")
        assert (answer.status_code, answer.json()["code"]) == (409, "look_ups_off")
        assert civitai.asked() == []


class TestPreviews:
    @pytest.mark.parametrize("where", ["data", "beside"])
    def test_are_fetched_only_when_wanted(self, home, civitai, where):
        civitai.add_version(SHAS["alice"])
        civitai.add("/picture", picture(), "image/png")
        look_up(home)
        assert home.adapter("alice")["preview_url"] is None

        assert look_up(home, previews=where)["previews"] == 1

        url = home.adapter("alice")["preview_url"]
        answer = home.client.get(url)
        assert (answer.content, answer.headers["content-type"]) == (picture(), "image/png")
        beside = list((home.library / "characters").glob("*.png"))
        assert len(beside) == (where == "beside")
        home.scan()
        assert home.adapter("alice")["preview_url"] == url
        gone = home.client.delete(f"/v1/adapters/{home.adapter('alice')['id']}/preview")
        assert gone.json()["adapter"]["preview_url"] is None

    @pytest.mark.parametrize("content", [b"<svg/>", picture()[:40]], ids=["svg", "cut off"])
    def test_what_is_no_picture_is_not_kept(self, home, civitai, content):
        civitai.add_version(SHAS["alice"])
        civitai.add("/picture", content, "image/png")
        report = look_up(home, previews="data")
        assert (report["previews"], report["failed"], report["found"]) == (0, 1, 1)
        assert home.adapter("alice")["preview_url"] is None


class TestStopping:
    def test_a_pause_ends_at_once_and_the_next_job_goes_on(self, home, civitai):
        civitai.add_version(SHAS["alice"])
        civitai.answers += [(404, {}, b""), (429, {"Retry-After": "600"}, b"")]
        jobs = home.application.services.get(Jobs)
        recorder = home.record_feed()
        job_id = home.client.post("/v1/library/look-up").json()["job_id"]
        again = home.client.post("/v1/library/look-up").json()["job_id"]
        assert again == job_id
        recorder.wait_for(lambda event: "asks us to wait" in str(event.data.get("message")))
        jobs.cancel(job_id)
        assert jobs.wait(job_id, 10).status == "cancelled"
        civitai.asked()
        report = look_up(home)
        assert (report["asked"], report["known"]) == (1, 1)

"""Section 8 of the contract: the progress socket."""

from __future__ import annotations

import pytest
from starlette.websockets import WebSocketDisconnect

from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, Feed, FeedEvent
from lora_manager_core.progress.outbox import Outbox

_SMALL = {"prompt": "a fox", "steps": 3, "width": 64, "height": 64}


def _subscribe(socket, job_ids=None):
    socket.send_json({"type": "subscribe", "job_ids": job_ids})
    confirmed = socket.receive_json()
    assert confirmed["type"] == "subscription_confirmed"
    return confirmed


class TestConversation:
    def test_begins_with_a_connection_id(self, home):
        with home.socket() as socket:
            message = socket.receive_json()
            assert message["type"] == "connected"
            assert set(message) == {"type", "timestamp", "data"}
            assert message["data"]["connection_id"]

    def test_answers_a_ping(self, home):
        with home.socket("/api/v1/ws/progress") as socket:
            socket.receive_json()
            socket.send_json({"type": "ping"})
            assert socket.receive_json()["type"] == "pong"

    @pytest.mark.parametrize(
        "text", ["nonsense", "[]", '{"type":"fly"}', '{"type":"subscribe","job_ids":3}', ""]
    )
    def test_a_message_that_is_not_understood_gets_an_error_and_the_socket_lives(self, home, text):
        with home.socket() as socket:
            socket.receive_json()
            socket.send_text(text)
            assert socket.receive_json()["type"] == "error"
            socket.send_bytes(b"\xff\x00")
            assert socket.receive_json()["type"] == "error"
            socket.send_json({"type": "ping"})
            assert socket.receive_json()["type"] == "pong"


class TestEvents:
    def test_of_a_generation_are_one_start_growing_progress_and_one_end(self, home):
        with home.socket() as socket:
            socket.receive_json()
            _subscribe(socket)
            answer = home.client.post(
                "/v1/generation/generate", params={"return_format": "url"}, json=_SMALL
            ).json()
            events = []
            while not events or events[-1]["type"] != COMPLETE:
                event = socket.receive_json()
                if event["data"]["job_id"] == answer["job_id"]:
                    events.append(event)
        assert events[0]["type"] == STARTED
        assert events[0]["data"]["params"]["params"]["prompt"] == "a fox"
        assert [e["type"] for e in events].count(STARTED) == 1
        progress = [e["data"]["progress"] for e in events if e["type"] == PROGRESS]
        assert progress == sorted(progress)
        assert progress
        end = events[-1]["data"]
        assert (end["status"], end["images"]) == ("completed", answer["images"])
        assert end["total_duration"] > 0

    def test_of_other_jobs_are_not_sent(self, home):
        with home.socket() as socket:
            socket.receive_json()
            _subscribe(socket, ["mine"])
            home.client.post("/v1/generation/generate", json=_SMALL)
            home.application.services.get(Feed).publish(
                FeedEvent(STARTED, "mine", {"job_id": "mine"})
            )
            assert socket.receive_json()["data"]["job_id"] == "mine"

    def test_late_subscribers_get_the_last_state_of_each_job(self, home):
        job = home.client.post("/v1/generation/generate", json=_SMALL).json()["job_id"]
        with home.socket() as socket:
            socket.receive_json()
            _subscribe(socket, [job])
            event = socket.receive_json()
            assert (event["type"], event["data"]["job_id"]) == (COMPLETE, job)

    def test_stop_after_unsubscribing(self, home):
        feed = home.application.services.get(Feed)
        with home.socket() as socket:
            socket.receive_json()
            _subscribe(socket, ["a"])
            socket.send_json({"type": "unsubscribe"})
            assert socket.receive_json()["data"] == {"job_ids": []}
            feed.publish(FeedEvent(STARTED, "a", {"job_id": "a"}))
            socket.send_json({"type": "ping"})
            assert socket.receive_json()["type"] == "pong"


class TestAccess:
    def test_from_another_site_is_refused(self, home):
        with (
            pytest.raises(WebSocketDisconnect) as refused,
            home.socket(origin="http://evil.example"),
        ):
            pass
        assert refused.value.code == 1008

    def test_a_ticket_opens_it_once(self, make_home):
        home = make_home(api_key="a-long-key")
        with pytest.raises(WebSocketDisconnect), home.socket():
            pass
        assert home.client.post("/v1/ws/ticket").status_code == 401
        ticket = home.client.post("/v1/ws/ticket", headers={"X-API-Key": "a-long-key"}).json()
        url = f"/v1/ws/progress?ticket={ticket['ticket']}"
        with home.socket(url) as socket:
            assert socket.receive_json()["type"] == "connected"
        with pytest.raises(WebSocketDisconnect), home.socket(url):
            pass


class TestSlowReader:
    def test_loses_old_progress_and_never_an_end(self):
        import asyncio

        async def _fill() -> list[FeedEvent]:
            outbox = Outbox()
            for job in range(600):
                for step in range(3):
                    outbox.put(FeedEvent(PROGRESS, str(job), {"progress": step / 3}))
            for job in range(0, 600, 2):
                outbox.put(FeedEvent(COMPLETE, str(job), {}))
            for job in range(1000, 1900):
                outbox.put(FeedEvent(PROGRESS, str(job), {"progress": 0.5}))
            return await outbox.take()

        events = asyncio.run(_fill())
        assert len(events) <= 1000
        assert {e.job_id for e in events if e.is_end} == {str(job) for job in range(0, 600, 2)}

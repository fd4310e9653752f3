"""Section 8 of the contract: the progress socket."""

from __future__ import annotations

import threading

import pytest
from starlette.websockets import WebSocketDisconnect

from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, Feed, FeedEvent

_SMALL = {"prompt": "a fox", "steps": 3, "width": 64, "height": 64}


def _subscribe(socket, job_ids=None, **more):
    socket.send_json({"type": "subscribe", "job_ids": job_ids, **more})
    confirmed = socket.receive_json()
    assert confirmed["type"] == "subscription_confirmed"
    return confirmed


def _ping(socket):
    """What was asked for before has been done once this is answered."""
    socket.send_json({"type": "ping"})
    assert socket.receive_json()["type"] == "pong"


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
                if event["data"].get("job_id") == answer["job_id"]:
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

    @pytest.mark.parametrize(
        ("wanted", "unwanted", "left", "told"),
        [
            pytest.param(["a", "b"], None, [], set(), id="all-of-some"),
            pytest.param(None, None, [], set(), id="all-of-all"),
            pytest.param(["a", "b"], ["a", "x"], ["b"], {"b"}, id="some-of-some"),
            pytest.param(None, ["a"], None, {"b", "c"}, id="some-of-all"),
        ],
    )
    def test_stop_after_unsubscribing(self, make_home, wanted, unwanted, left, told):
        home = make_home(library_roots=())
        feed = home.application.services.get(Feed)
        with home.socket() as socket:
            socket.receive_json()
            _subscribe(socket, wanted)
            socket.send_json({"type": "unsubscribe", "job_ids": unwanted})
            assert socket.receive_json()["data"] == {"job_ids": left}
            for job in ("a", "b", "c"):
                feed.publish(FeedEvent(STARTED, job, {"job_id": job}))
            assert {socket.receive_json()["data"]["job_id"] for _ in told} == told
            socket.send_json({"type": "ping"})
            assert socket.receive_json()["type"] == "pong"

    def test_of_one_job_stay_in_order_while_sockets_come_and_go(self, make_home):
        home = make_home(library_roots=())
        feed = home.application.services.get(Feed)
        done = threading.Event()

        def publish():
            number = 0
            while not done.is_set():
                job, number = f"job-{number}", number + 1
                feed.publish(FeedEvent(STARTED, job, {"job_id": job, "progress": 0.0}))
                for step in range(1, 6):
                    data = {"job_id": job, "progress": step / 5}
                    feed.publish(FeedEvent(PROGRESS, job, data))
                feed.publish(FeedEvent(COMPLETE, job, {"job_id": job}))
                done.wait(0.001)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for _ in range(10):
                seen = {}
                with home.socket() as socket:
                    socket.receive_json()
                    _subscribe(socket)
                    for _ in range(400):
                        event = socket.receive_json()
                        data = event["data"]
                        before = seen.get(data["job_id"], -1.0)
                        now = 2.0 if event["type"] == COMPLETE else data["progress"]
                        assert before < now, (before, event)
                        seen[data["job_id"]] = now
        finally:
            done.set()
            thread.join()


class TestPreviews:
    PREVIEW = "data:image/jpeg;base64,AAAA"

    def test_go_only_to_those_who_asked(self, make_home):
        home = make_home(library_roots=())
        feed = home.application.services.get(Feed)
        with home.socket() as asked, home.socket() as silent:
            for socket, wish in ((asked, {"include_previews": True}), (silent, {})):
                socket.receive_json()
                _subscribe(socket, **wish)
            data = {"job_id": "a", "progress": 0.5, "preview_image": self.PREVIEW}
            feed.publish(FeedEvent(PROGRESS, "a", data))
            assert asked.receive_json()["data"]["preview_image"] == self.PREVIEW
            assert silent.receive_json()["data"] == {**data, "preview_image": None}

    def test_are_made_while_somebody_looks(self, home):
        feed = home.application.services.get(Feed)
        with home.socket() as socket:
            socket.receive_json()
            _subscribe(socket, ["nothing"])
            assert not feed.previews_wanted()
            _subscribe(socket, ["nothing"], include_previews=True)
            _ping(socket)
            assert feed.previews_wanted()
            socket.send_json({"type": "unsubscribe"})
            assert socket.receive_json()["data"] == {"job_ids": []}
            assert not feed.previews_wanted()
            _subscribe(socket, ["nothing"], include_previews=True)
            _ping(socket)
            assert feed.previews_wanted()
        assert not feed.previews_wanted()


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

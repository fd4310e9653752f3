"""What every progress feed promises. A new feed becomes one more parameter of `FEEDS`.

A feed may deliver on another thread. So nothing here looks at once: it waits for the event, and
where none may come, for a later one that must.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator

import pytest

from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, Feed, FeedEvent
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.feed.redis import RedisFeed
from tests.fakes.events import complete, progress, started
from tests.fakes.recorder import Recorder


def _memory(_request: pytest.FixtureRequest) -> Feed:
    return MemoryFeed()


def _redis(request: pytest.FixtureRequest) -> Feed:
    return RedisFeed(request.getfixturevalue("redis_url"), f"test-{uuid.uuid4().hex}")


FEEDS = [
    pytest.param(_memory, id="memory"),
    pytest.param(_redis, id="redis", marks=pytest.mark.redis),
]


@pytest.fixture(params=FEEDS)
def feed(request: pytest.FixtureRequest) -> Iterator[Feed]:
    """An empty feed that was started."""
    made: Feed = request.param(request)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def heard(feed: Feed) -> Recorder:
    """A listener that was there from the beginning."""
    recorder = Recorder()
    feed.subscribe(recorder)
    return recorder


def _settle(feed: Feed, *listeners: Recorder) -> None:
    """Publish a job of its own and wait for it: all that was published before has been heard."""
    feed.publish(complete("settled"))
    for listener in listeners:
        listener.wait_for_end("settled")


class TestPublishing:
    def test_reaches_every_listener_in_order(self, feed: Feed, heard: Recorder) -> None:
        second = Recorder()
        feed.subscribe(second)
        events = [started(), progress(0.5), complete()]

        for event in events:
            feed.publish(event)

        _settle(feed, heard, second)
        assert heard.of("job") == events
        assert second.of("job") == events

    def test_keeps_the_jobs_apart(self, feed: Feed, heard: Recorder) -> None:
        feed.publish(progress(0.9, "a"))
        feed.publish(progress(0.1, "b"))
        feed.publish(complete("a"))
        feed.publish(progress(0.2, "b"))

        _settle(feed, heard)
        assert [event.data["progress"] for event in heard.of("b")] == [0.1, 0.2]

    def test_without_a_listener_is_fine(self, feed: Feed) -> None:
        feed.publish(started())

        assert [event.job_id for event in feed.last_events()] == ["job"]

    def test_from_four_threads_keeps_the_order_of_each_job(
        self, feed: Feed, heard: Recorder
    ) -> None:
        second = Recorder()
        feed.subscribe(second)
        together = threading.Barrier(4)

        def publish_one_job(job_id: str) -> None:
            together.wait(10)
            feed.publish(started(job_id))
            for percent in range(1, 100):
                feed.publish(progress(percent / 100, job_id))
            feed.publish(complete(job_id))

        threads = [threading.Thread(target=publish_one_job, args=(str(n),)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        _settle(feed, heard, second)
        for listener in (heard, second):
            for number in range(4):
                events = listener.of(str(number))
                assert [event.type for event in events] == [STARTED, *[PROGRESS] * 99, COMPLETE]
                fractions = [event.data["progress"] for event in events[1:-1]]
                assert fractions == sorted(fractions)


class TestOrderOfOneJob:
    def test_progress_never_falls(self, feed: Feed, heard: Recorder) -> None:
        for fraction in (0.2, 0.6, 0.4, 0.6, 0.8):
            feed.publish(progress(fraction))

        _settle(feed, heard)
        assert [event.data["progress"] for event in heard.of("job")] == [0.2, 0.6, 0.6, 0.8]

    @pytest.mark.parametrize(
        "late",
        [
            pytest.param(started(), id="start"),
            pytest.param(progress(1.0), id="progress"),
            pytest.param(complete(status="failed"), id="second-end"),
        ],
    )
    def test_nothing_follows_the_end(self, feed: Feed, heard: Recorder, late: FeedEvent) -> None:
        feed.publish(complete())

        feed.publish(late)

        _settle(feed, heard)
        assert [event.data["status"] for event in heard.of("job")] == ["completed"]

    def test_what_was_said_already_is_not_said_again(self, feed: Feed, heard: Recorder) -> None:
        event = progress(0.5)

        feed.publish(event)
        feed.publish(event)

        _settle(feed, heard)
        assert heard.of("job") == [event]

    @pytest.mark.parametrize("fraction", [0.0, 0.4])
    def test_a_job_that_is_tried_again_is_told_to_start_once(
        self, feed: Feed, heard: Recorder, fraction: float
    ) -> None:
        feed.publish(started())
        feed.publish(progress(fraction))

        feed.publish(started())

        _settle(feed, heard)
        assert [event.type for event in heard.of("job")] == [STARTED, PROGRESS]


class TestListening:
    def test_ends_with_unsubscribing(self, feed: Feed, heard: Recorder) -> None:
        leaving = Recorder()
        unsubscribe = feed.subscribe(leaving)
        feed.publish(started())
        _settle(feed, leaving)

        unsubscribe()
        feed.publish(complete())

        heard.wait_for_end("job")
        assert [event.type for event in leaving.of("job")] == [STARTED]

    def test_may_be_ended_twice(self, feed: Feed, heard: Recorder) -> None:
        unsubscribe = feed.subscribe(Recorder())
        unsubscribe()
        unsubscribe()

        _settle(feed, heard)

    def test_may_be_ended_by_the_listener_itself(self, feed: Feed, heard: Recorder) -> None:
        calls: list[FeedEvent] = []
        leave: list[Callable[[], None]] = []

        def listen_once(event: FeedEvent) -> None:
            calls.append(event)
            leave[0]()

        leave.append(feed.subscribe(listen_once))
        last = Recorder()
        feed.subscribe(last)

        # On a thread of its own, so that a deadlock fails this test instead of hanging the run.
        thread = threading.Thread(
            target=lambda: [feed.publish(e) for e in (started(), complete())], daemon=True
        )
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "a listener that unsubscribes within its call blocks the feed"

        _settle(feed, heard, last)
        assert [event.type for event in calls] == [STARTED]
        assert [event.type for event in last.of("job")] == [STARTED, COMPLETE]


class TestLastEvents:
    def test_are_the_newest_of_each_job_in_order(self, feed: Feed) -> None:
        feed.publish(started("a"))
        feed.publish(started("b"))
        feed.publish(progress(0.5, "a"))

        assert [(e.job_id, e.type) for e in feed.last_events()] == [("b", STARTED), ("a", PROGRESS)]

    def test_tell_a_latecomer_of_an_end(self, feed: Feed) -> None:
        feed.publish(started())
        feed.publish(complete())

        assert [event.is_end for event in feed.last_events()] == [True]

    def test_forget_old_ends_and_never_a_job_that_runs(self, feed: Feed) -> None:
        feed.publish(started("running"))
        for number in range(1000):
            feed.publish(complete(f"ended-{number}"))

        remembered = [event.job_id for event in feed.last_events()]

        assert "running" in remembered
        assert "ended-999" in remembered
        assert "ended-0" not in remembered
        assert len(remembered) < 1000


class TestPreviews:
    def test_are_wanted_by_nobody_to_begin_with(self, feed: Feed) -> None:
        assert not feed.previews_wanted()

    def test_are_wanted_as_long_as_somebody_says_so(self, feed: Feed) -> None:
        feed.want_previews(True)
        assert feed.previews_wanted()

        feed.want_previews(False)
        assert not feed.previews_wanted()


class TestStopping:
    def test_leaves_the_listeners_of_this_process_served(self, feed: Feed, heard: Recorder) -> None:
        feed.stop()

        _settle(feed, heard)

    def test_may_be_undone_and_both_repeated(self, feed: Feed, heard: Recorder) -> None:
        feed.stop()
        feed.stop()
        feed.start()
        feed.start()

        _settle(feed, heard)


def test_an_envelope_has_type_timestamp_and_data() -> None:
    envelope = progress(0.5).envelope()

    assert set(envelope) == {"type", "timestamp", "data"}
    assert envelope["type"] == PROGRESS
    assert envelope["data"] == {"job_id": "job", "progress": 0.5}
    assert envelope["timestamp"].endswith("Z")

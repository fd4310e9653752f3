"""What only a feed of several processes promises; two `RedisFeed`s stand for two processes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED
from lora_manager_core.feed.redis import RedisFeed
from tests.fakes.events import complete, progress, started
from tests.fakes.recorder import Recorder
from tests.fakes.redis_server import RedisServer

pytestmark = pytest.mark.redis

MakeFeed = Callable[..., RedisFeed]


@pytest.fixture
def make_feed(redis_url: str) -> Iterator[MakeFeed]:
    """Another process's feed of this test's own namespace, started."""
    namespace = f"test-{uuid.uuid4().hex}"
    with ExitStack() as stack:

        def _make(url: str = redis_url) -> RedisFeed:
            feed = RedisFeed(url, namespace)
            feed.start()
            stack.callback(feed.stop)
            return feed

        yield _make


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis to be killed."""
    own = RedisServer(tmp_path)
    own.start()
    yield own
    own.kill()


def _listen(feed: RedisFeed) -> Recorder:
    recorder = Recorder()
    feed.subscribe(recorder)
    return recorder


def _until(claim: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, f"not so after {timeout_s} s"
        time.sleep(0.02)


def _client(url: str) -> Any:
    import redis

    return redis.Redis.from_url(url)


def _has_states(server: RedisServer) -> bool:
    with _client(server.url) as client:
        return len(client.keys("*:last")) == 1


class TestAnotherProcess:
    def test_hears_each_event_once_and_as_it_was(self, make_feed: MakeFeed) -> None:
        here, there = make_feed(), make_feed()
        heard_here, heard_there = _listen(here), _listen(there)
        events = [started(), progress(0.5), progress(0.5), progress(1.0), complete()]

        for event in events:
            here.publish(event)
            heard_there.wait_for(lambda heard, event=event: heard == event)

        here.publish(complete("settled"))
        heard_there.wait_for_end("settled")
        assert heard_there.of("job") == events
        assert heard_here.of("job") == events

    def test_may_be_a_real_one(self, make_feed: MakeFeed, redis_url: str) -> None:
        """It publishes the moment it has started, and ends the moment it has published."""
        here = make_feed()
        heard = _listen(here)
        program = (
            "import sys; from lora_manager_core.feed.redis import RedisFeed;"
            "from lora_manager_core.feed.base import COMPLETE, FeedEvent;"
            "feed = RedisFeed(*sys.argv[1:]); feed.start();"
            "feed.publish(FeedEvent(COMPLETE, 'job', {'status': 'completed', 'pid': 1}));"
            "feed.stop()"
        )
        namespace = here._events.removesuffix(":feed")
        subprocess.run([sys.executable, "-c", program, redis_url, namespace], check=True)

        heard.wait_for_end("job")
        assert heard.of("job")[0].data == {"status": "completed", "pid": 1}

    def test_that_starts_late_has_the_last_states(self, make_feed: MakeFeed) -> None:
        here = make_feed()
        for event in (started("a"), started("b"), progress(0.5, "a"), complete("b")):
            here.publish(event)
        here.stop()

        last = make_feed().last_events()

        assert [(e.job_id, e.type) for e in last] == [("a", PROGRESS), ("b", COMPLETE)]

    def test_cannot_end_a_job_again_or_take_it_back(self, make_feed: MakeFeed) -> None:
        here, there = make_feed(), make_feed()
        heard = _listen(there)
        here.publish(progress(0.6))
        heard.wait_for(lambda event: event.data.get("progress") == 0.6)

        there.publish(progress(0.4))
        there.publish(started())
        there.publish(complete(status="failed"))
        _until(lambda: here.last_events()[-1].is_end)
        here.publish(complete(status="completed"))

        late = make_feed().last_events()
        assert [event.data["status"] for event in late] == ["failed"]
        assert [event.type for event in heard.of("job")] == [PROGRESS, COMPLETE]

    def test_at_the_same_moment_gives_one_start_and_one_end_everywhere(
        self, make_feed: MakeFeed
    ) -> None:
        feeds = [make_feed() for _ in range(3)]
        listeners = [_listen(feed) for feed in feeds]
        together = threading.Barrier(3)

        def publish(feed: RedisFeed, name: str) -> None:
            together.wait(10)
            for number in range(50):
                job = f"job-{number}"
                feed.publish(started(job))
                for step in range(1, 5):
                    feed.publish(progress(step / 4, job))
                feed.publish(complete(job, name))

        threads = [
            threading.Thread(target=publish, args=(feed, str(number)))
            for number, feed in enumerate(feeds)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        for number, feed in enumerate(feeds):
            feed.publish(complete(f"settled-{number}"))
        for listener in listeners:
            for number in range(len(feeds)):
                listener.wait_for_end(f"settled-{number}")
            for number in range(50):
                events = listener.of(f"job-{number}")
                kinds = Counter(event.type for event in events)
                fractions = [e.data["progress"] for e in events if not e.is_end]
                assert kinds[STARTED] == kinds[COMPLETE] == 1
                assert events[-1].is_end
                assert fractions == sorted(fractions)


class TestPreviewsOfAnotherProcess:
    def test_are_made_while_somebody_there_looks(self, make_feed: MakeFeed) -> None:
        here, there = make_feed(), make_feed()

        there.want_previews(True)
        _until(here.previews_wanted)
        late = make_feed()
        _until(late.previews_wanted)

        there.want_previews(False)
        _until(lambda: not here.previews_wanted() and not late.previews_wanted(), 5.0)

    def test_are_not_made_for_one_that_has_stopped(self, make_feed: MakeFeed) -> None:
        here, there = make_feed(), make_feed()
        there.want_previews(True)
        _until(here.previews_wanted)

        there.stop()

        _until(lambda: not here.previews_wanted(), 5.0)


class TestWithoutRedis:
    def test_nothing_is_reached_before_the_start(self) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            silent.settimeout(0.2)
            feed = RedisFeed(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
            heard = _listen(feed)

            feed.publish(complete())

            assert heard.of("job")
            with pytest.raises(TimeoutError):
                silent.accept()

    def test_a_server_that_never_answers_holds_up_nobody(self, make_feed: MakeFeed) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            feed = make_feed(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
            heard = _listen(feed)
            began = time.monotonic()
            for number in range(100):
                feed.publish(complete(str(number)))
            took_s = time.monotonic() - began

            assert len(heard.events) == 100
            assert took_s < 1.0

    def test_own_listeners_hear_at_once_and_the_others_later(
        self, make_feed: MakeFeed, server: RedisServer
    ) -> None:
        here, there = make_feed(server.url), make_feed(server.url)
        heard_here, heard_there = _listen(here), _listen(there)
        here.publish(started())
        heard_there.wait_for(lambda event: event.job_id == "job")
        server.kill()

        here.publish(progress(0.5))
        here.publish(complete())
        there.publish(complete("other"))

        assert [event.type for event in heard_here.of("job")] == [STARTED, PROGRESS, COMPLETE]
        server.start()
        heard_there.wait_for_end("job")
        heard_here.wait_for_end("other")
        assert [event.type for event in heard_there.of("job")] == [STARTED, COMPLETE]

    def test_a_process_that_starts_when_it_is_back_has_what_went_before(
        self, make_feed: MakeFeed, server: RedisServer
    ) -> None:
        here = make_feed(server.url)
        here.publish(complete("before"))
        _until(lambda: _has_states(server))
        server.kill()
        server.start()
        _until(lambda: _has_states(server))

        assert [event.job_id for event in make_feed(server.url).last_events()] == ["before"]

    def test_no_end_is_lost_when_it_is_killed_again_and_again(
        self, make_feed: MakeFeed, server: RedisServer
    ) -> None:
        publishers = [make_feed(server.url) for _ in range(2)]
        listener = make_feed(server.url)
        heard = _listen(listener)
        done = threading.Event()

        def work(feed: RedisFeed, name: str) -> list[str]:
            jobs = []
            while not done.is_set():
                jobs.append(f"{name}-{len(jobs)}")
                feed.publish(started(jobs[-1]))
                feed.publish(progress(0.5, jobs[-1]))
                feed.publish(complete(jobs[-1]))
                done.wait(0.02)
            return jobs

        with ThreadPoolExecutor() as threads:
            working = [threads.submit(work, feed, f"{n}") for n, feed in enumerate(publishers)]
            for _ in range(4):
                time.sleep(0.3)
                server.kill()
                time.sleep(0.1)
                server.start()
            done.set()
            ended = [job for one in working for job in one.result()]

        for job in ended:
            heard.wait_for_end(job)
        ends = Counter(event.job_id for event in heard.events if event.is_end)
        assert set(ends.values()) == {1}


class TestStrangers:
    def test_what_is_no_event_is_passed_over(self, make_feed: MakeFeed, redis_url: str) -> None:
        here, there = make_feed(), make_feed()
        heard = _listen(there)
        with _client(redis_url) as client:
            for text in ("", "x" * 40, "y" * 32 + "7", "z" * 32 + "[1,2]"):
                client.publish(here._events, text)

        here.publish(complete())

        heard.wait_for_end("job")
        assert [event.job_id for event in heard.events] == ["job"]


class TestMemory:
    def test_of_ended_jobs_is_bounded(self, make_feed: MakeFeed, redis_url: str) -> None:
        here = make_feed()
        here.publish(started("running"))
        for number in range(1000):
            here.publish(complete(f"ended-{number:03}"))
        here.stop()

        remembered = [event.job_id for event in make_feed().last_events()]

        assert remembered == ["running", *(f"ended-{number:03}" for number in range(801, 1000))]
        with _client(redis_url) as client:
            sizes = [client.hlen(key) for key in here._keys[:2]]
            sizes += [client.zcard(key) for key in here._keys[2:]]
            lives = [client.ttl(key) for key in here._keys]
        assert sizes == [201, 201, 1, 200]
        assert all(life > 3600 for life in lives)

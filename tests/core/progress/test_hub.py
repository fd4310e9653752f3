"""The way from a feed to many sockets, without sockets: on an event loop of the test's own."""

from __future__ import annotations

import asyncio
import threading

from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, FeedEvent
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.progress.hub import SocketHub, Subscriber
from lora_manager_core.progress.messages import Message
from lora_manager_core.progress.outbox import Outbox


def _progress(job_id: str, fraction: float) -> FeedEvent:
    return FeedEvent(PROGRESS, job_id, {"job_id": job_id, "progress": fraction})


def _complete(job_id: str) -> FeedEvent:
    return FeedEvent(COMPLETE, job_id, {"job_id": job_id})


async def _take(subscriber: Subscriber, count: int) -> list[FeedEvent]:
    return [(await asyncio.wait_for(subscriber.outbox.take(), 10)).event for _ in range(count)]


class TestJoining:
    def test_shares_one_subscription_to_the_feed(self):
        feed = _CountingFeed()

        async def _run() -> None:
            hub = SocketHub(feed)
            subscribers = [hub.join() for _ in range(500)]
            assert feed.listeners == 1
            for subscriber in subscribers:
                hub.leave(subscriber)
            assert feed.listeners == 0

        asyncio.run(_run())

    def test_again_after_all_have_left_begins_with_the_last_states(self):
        feed = MemoryFeed()

        async def _run() -> list[FeedEvent]:
            hub = SocketHub(feed)
            hub.leave(hub.join())
            feed.publish(_progress("a", 0.5))
            late = hub.join()
            hub.subscribe(late, None, False)
            first = await _take(late, 1)
            feed.publish(_complete("a"))
            return first + await _take(late, 1)

        assert [event.type for event in asyncio.run(_run())] == [PROGRESS, COMPLETE]


class TestPublishing:
    def test_never_fails_for_a_loop_that_has_ended(self):
        feed = MemoryFeed()
        hub = SocketHub(feed)

        async def _run() -> None:
            hub.join()

        asyncio.run(_run())
        feed.publish(_complete("a"))
        assert [event.job_id for event in feed.last_events()] == ["a"]

    def test_from_threads_reaches_every_subscriber_in_order(self):
        feed = MemoryFeed()

        def _publish(job: str) -> None:
            feed.publish(FeedEvent(STARTED, job, {"job_id": job, "progress": 0.0}))
            feed.publish(_complete(job))

        async def _run() -> list[list[FeedEvent]]:
            hub = SocketHub(feed)
            subscribers = [hub.join() for _ in range(20)]
            for subscriber in subscribers:
                hub.subscribe(subscriber, None, False)
            threads = [threading.Thread(target=_publish, args=(f"{n}",)) for n in range(8)]
            for thread in threads:
                thread.start()
            return [await _take(subscriber, 16) for subscriber in subscribers]

        for events in asyncio.run(_run()):
            for job in range(8):
                own = [event.type for event in events if event.job_id == str(job)]
                assert own == [STARTED, COMPLETE]


class TestSlowReader:
    def test_loses_old_progress_and_never_an_end(self):
        async def _run() -> list[Message]:
            outbox = Outbox()
            for job in range(600):
                for step in range(3):
                    outbox.put(Message(_progress(str(job), step / 3)))
            for job in range(0, 600, 2):
                outbox.put(Message(_complete(str(job))))
            for job in range(1000, 1900):
                outbox.put(Message(_progress(str(job), 0.5)))
            outbox.put(Message(_complete("last")))
            taken = []
            while not taken or taken[-1].job_id != "last":
                taken.append(await outbox.take())
            return taken

        messages = asyncio.run(_run())
        assert len(messages) <= 1000
        ended = {message.job_id for message in messages if message.type == COMPLETE}
        assert ended == {str(job) for job in range(0, 600, 2)} | {"last"}

    def test_gets_the_newest_of_what_it_was_too_slow_for(self):
        async def _run() -> list[float]:
            outbox = Outbox()
            outbox.put(Message(_progress("a", 0.1)))
            outbox.put(Message(_progress("b", 0.1)))
            first = await outbox.take()
            outbox.put(Message(_progress("b", 0.9)))
            second = await outbox.take()
            return [message.event.data["progress"] for message in (first, second)]

        assert asyncio.run(_run()) == [0.1, 0.9]


class TestWriting:
    def test_is_done_once_for_each_way_to_send(self):
        images = FeedEvent(COMPLETE, "a", {"job_id": "a", "images": ["/1.png"]})
        preview = FeedEvent(PROGRESS, "a", {"job_id": "a", "preview_image": "data:…"})
        plain = _progress("a", 0.5)

        for event, ways in ((images, 2), (preview, 2), (plain, 1)):
            message = Message(event)
            texts = [
                message.text(prefix, previews)
                for _ in range(3)
                for prefix in ("/v1", "/api/v1")
                for previews in (True, False)
            ]
            assert len({id(text) for text in texts}) == ways


class _CountingFeed(MemoryFeed):
    def __init__(self) -> None:
        super().__init__()
        self.listeners = 0

    def subscribe(self, listener):
        self.listeners += 1
        leave = super().subscribe(listener)

        def _leave() -> None:
            self.listeners -= 1
            leave()

        return _leave

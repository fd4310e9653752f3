"""The host's list of LoRA files and ours, in step: when it is read anew, and when we scan."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from lora_manager_core.feed.base import FeedEvent
from lora_manager_core.library.telling import LIBRARY_CHANGED
from lora_manager_ext.lora_list import HostLoraList


class _Host:
    """A list with one entry, new objects at each listing, as the host makes them."""

    def __init__(self) -> None:
        self.queue_lock = threading.Lock()
        self.aliases: dict[str, Any] = {"a": object()}
        self.listed = 0

    def lora_aliases(self) -> dict[str, Any]:
        return self.aliases

    def refresh_loras(self) -> None:
        self.listed += 1
        self.aliases = {"a": object()}


@pytest.fixture
def host() -> _Host:
    return _Host()


@pytest.fixture
def listing(host: _Host):
    listing = HostLoraList(host, logging.getLogger("test"), look_s=0.01, quiet_s=0.05)
    yield listing
    listing.stop()


def _changed(**counts: int) -> FeedEvent:
    data = {"added": 0, "changed": 0, "moved": 0, "missing": 0, **counts}
    return FeedEvent(LIBRARY_CHANGED, "library", data)


class TestRefresh:
    def test_between_pictures_it_is_done_at_once(self, host, listing):
        listing.refresh()
        assert host.listed == 1
        assert not host.queue_lock.locked()

    def test_during_a_picture_it_waits_for_its_end(self, host, listing):
        said: list[str] = []
        with host.queue_lock:
            listing.refresh()
            assert host.listed == 0
        listing.start(lambda: said.append("listed"), lambda: said.append("news"))
        _wait_for(lambda: said)
        assert (host.listed, said) == (1, ["listed"])

    def test_the_job_that_makes_the_picture_does_not_wait_for_itself(self, host, listing):
        with host.queue_lock, listing.within_job():
            listing.refresh()
        assert host.listed == 1


class TestBothWays:
    @pytest.mark.parametrize("kind", ["added", "moved", "missing"])
    def test_files_of_ours_that_come_or_go_are_listed_by_the_host(self, host, listing, kind):
        said: list[str] = []
        listing.start(lambda: said.append("listed"), lambda: said.append("news"))
        listing.hear(_changed(**{kind: 1}))
        _wait_for(lambda: said)
        assert (host.listed, said) == (1, ["listed"])

    def test_what_changes_no_file_name_is_nothing_to_the_host(self, host, listing):
        listing.start(_never, _never)
        listing.hear(_changed(changed=3))
        listing.look(_never, _never)
        listing.stop()
        listing.look(_never, _never)
        assert host.listed == 0

    def test_what_the_host_lists_by_itself_has_us_scan_once(self, host, listing):
        said: list[str] = []
        listing.start(lambda: said.append("listed"), lambda: said.append("news"))
        host.refresh_loras()
        _wait_for(lambda: said)
        listing.look(_never, _never)
        assert said == ["news"]

    def test_our_own_listing_does_not_cover_up_the_news_of_the_hosts(self, host, listing):
        said: list[str] = []
        listing.start(lambda: said.append("listed"), lambda: said.append("news"))
        listing.stop()
        host.refresh_loras()
        listing.refresh()
        listing.look(_never, lambda: said.append("news"))
        assert said == ["news"]

    def test_a_list_that_is_being_read_is_no_news(self, host, listing):
        listing.start(_never, _never)
        host.aliases = {}
        listing.look(_never, _never)


def _never() -> None:
    raise AssertionError("nothing happened that would want this")


def _wait_for(condition) -> None:
    ended = threading.Event()
    for _ in range(400):
        if condition():
            return
        ended.wait(0.05)
    raise AssertionError("it did not come about")

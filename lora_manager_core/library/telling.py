"""What the feed is told when the catalogue changed by itself: one event for many files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_manager_core.feed.base import Feed, FeedEvent
from lora_manager_core.library.scan import CHANGED

LIBRARY_CHANGED = "library_changed"
#: No job's: the newest such event stands for all before it.
_STREAM = "library"


def publish_library_change(feed: Feed, report: Mapping[str, Any]) -> None:
    """Tell that records came, changed or lost their files; `report` is a scan's, as a dict."""
    feed.publish(FeedEvent(LIBRARY_CHANGED, _STREAM, {name: report[name] for name in CHANGED}))

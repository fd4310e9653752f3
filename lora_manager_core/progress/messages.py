"""An event on its way to sockets: written down once, however many of them there are."""

from __future__ import annotations

import orjson

from lora_manager_core.feed.base import FeedEvent


class Message:
    """One event as text. Sockets differ in the prefix of their URLs and in wanting previews."""

    def __init__(self, event: FeedEvent) -> None:
        self.event = event
        self.job_id = event.job_id
        self.type = event.type
        self._has_images = bool(event.data.get("images"))
        self._has_preview = event.data.get("preview_image") is not None
        self._texts: dict[tuple[str, bool], str] = {}

    def text(self, prefix: str, previews: bool) -> str:
        """The envelope; URLs of pictures begin with `prefix`, a preview is null unless wanted."""
        key = (prefix if self._has_images else "", previews and self._has_preview)
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = self._write(*key)
        return text

    def _write(self, prefix: str, preview: bool) -> str:
        envelope = self.event.envelope()
        data = envelope["data"]
        if self._has_images:
            data["images"] = [prefix + url for url in data["images"]]
        if self._has_preview and not preview:
            data["preview_image"] = None
        return orjson.dumps(envelope).decode()

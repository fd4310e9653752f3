"""Files as answers: ranges, ETag and conditional requests, with failures in our error shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from lora_manager_core.web.errors import ProblemResponse

#: For what never changes under its address.
IMMUTABLE = "private, max-age=31536000, immutable"
_REFUSED = (400, 416)


class FileAnswer(FileResponse):
    """A file that exists; beyond what Starlette does, 304 for whom has it already.

    With `file_name` browsers store it under that name instead of showing it.
    """

    def __init__(
        self, path: Path, media_type: str, cache_control: str, file_name: str | None = None
    ) -> None:
        super().__init__(
            path,
            media_type=media_type,
            filename=file_name,
            headers={"Cache-Control": cache_control, "X-Content-Type-Options": "nosniff"},
            stat_result=path.stat(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, a part of it, or only that it has not changed."""
        asked = Headers(scope=scope)
        if _lists(asked.get("if-none-match", ""), self.headers["etag"]):
            known: Mapping[str, str] = {
                name: self.headers[name] for name in ("etag", "cache-control", "last-modified")
            }
            await Response(status_code=304, headers=known)(scope, receive, send)
            return
        refused = False

        async def _watch(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = message["status"] in _REFUSED
            if not refused:
                await send(message)

        size = self.headers["content-length"]
        await super().__call__(scope, receive, _watch)
        if refused:
            problem = ProblemResponse(
                416,
                "range_not_satisfiable",
                "Range not satisfiable",
                f"The file has {size} bytes; ask for a range of those.",
                headers={"Content-Range": f"bytes */{size}"},
            )
            await problem(scope, receive, send)


def _lists(if_none_match: str, etag: str) -> bool:
    """Whether the header names this ETag; weak ones compare equal (RFC 9110, 13.1.2)."""
    named = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return etag in named or named == ["*"]

"""Bounds what a request may carry."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lora_manager_core.web.errors import ProblemResponse

#: Largest JSON body, in bytes: a bulk call with 100,000 ids has 4 MB.
MAX_BODY_BYTES = 8 * 2**20


class BodyLimitMiddleware:
    """Answers 413 when the body is larger than allowed, by its length or while it is read.

    `uploads` are the paths of routes whose bodies are streamed to the disk (`web.uploads`), which
    have bounds of their own; `larger` names requests with another bound, in bytes, by method and
    path.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int = MAX_BODY_BYTES,
        uploads: Collection[str] = (),
        larger: Collection[tuple[str, re.Pattern[str], int]] = (),
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._uploads = uploads
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer for it."""
        if scope["type"] != "http" or self._is_upload(scope):
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        limit = self._limit(scope)
        if not length.isdigit() or int(length) > limit:
            await self._refuse(limit, scope, receive, send)
            return
        seen = 0
        too_large = False

        async def _count() -> Message:
            nonlocal seen, too_large
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                too_large = True
                return {"type": "http.disconnect"}
            return message

        async def _send(message: Message) -> None:
            if not too_large:
                await send(message)

        await self._app(scope, _count, _send)
        if too_large:
            await self._refuse(limit, scope, receive, send)

    def _is_upload(self, scope: Scope) -> bool:
        return scope["method"] == "POST" and _path(scope) in self._uploads

    def _limit(self, scope: Scope) -> int:
        for method, path, max_bytes in self._larger:
            if scope["method"] == method and path.fullmatch(_path(scope)):
                return max_bytes
        return self._max_bytes

    async def _refuse(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        answer = ProblemResponse(
            413,
            "too_large",
            "Request too large",
            f"The request body is larger than {limit // 2**20} MiB.",
        )
        await answer(scope, receive, send)


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class NulMiddleware:
    """Answers for a NUL character in the address: no id or name has one.

    PostgreSQL takes none in a text, so that looking for it would be an error of ours.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer for it."""
        answer: ASGIApp = self._app
        if scope["type"] == "http" and "\0" in scope["path"]:
            answer = ProblemResponse(
                404, "not_found", "Not found", "The address has a NUL character in its path."
            )
        elif scope["type"] == "http" and b"%00" in scope["query_string"]:
            answer = ProblemResponse(
                422, "validation", "Invalid request", "The query has a NUL character; leave it out."
            )
        await answer(scope, receive, send)

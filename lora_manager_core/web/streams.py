"""Answers that are made while they are sent, of a length that nobody knows yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Pieces(Protocol):
    """The content: an iterator that is to be closed, also where nobody took all of it."""

    def __iter__(self) -> Iterator[bytes]: ...

    def stop(self) -> None:
        """End soon: nobody takes more of it. Returns at once."""

    def close(self) -> None:
        """Give back what it holds; may take a moment."""


class StreamAnswer(StreamingResponse):
    """A download without a length, closed with its connection.

    What fails in `pieces` breaks the connection off: the caller has no complete answer.
    """

    def __init__(
        self, pieces: Pieces, media_type: str, file_name: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(
            iter(pieces),
            media_type=media_type,
            headers={
                "Content-Disposition": f'attachment; filename="{file_name}"',
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                # SD.Next's app compresses whatever does not say that it is encoded already.
                "Content-Encoding": "identity",
                **headers,
            },
        )
        self._pieces = pieces

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Wait until the caller has gone; whoever makes the next piece need not finish it then."""
        await super().listen_for_disconnect(receive)
        self._pieces.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close the content however that ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._pieces.close)

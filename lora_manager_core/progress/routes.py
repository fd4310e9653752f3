"""Section 8 of the contract: the progress socket, and a ticket where no header can be sent."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from pydantic import TypeAdapter, ValidationError
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from lora_manager_core.common.clock import utc_now
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.feed.base import FeedEvent
from lora_manager_core.progress.hub import SocketHub, Subscriber
from lora_manager_core.progress.schemas import ClientMessage, Ping, Subscribe, TicketAnswer
from lora_manager_core.web.access import Access, require_access
from lora_manager_core.web.deps import Provided

router = APIRouter(prefix="/ws", tags=["progress"])

_MESSAGES: TypeAdapter[Any] = TypeAdapter(ClientMessage)
#: Policy violation, RFC 6455 section 7.4.1.
_REFUSED = 1008


@router.post("/ticket", response_model=TicketAnswer, dependencies=[Depends(require_access)])
async def make_ticket(connection: HTTPConnection) -> TicketAnswer:
    """A single-use ticket for the socket."""
    access: Access = connection.app.state.access
    return TicketAnswer(ticket=access.tickets.issue(), expires_in_s=access.tickets.lifetime_s)


@router.websocket("/progress")
async def progress(
    socket: WebSocket, hub: Annotated[SocketHub, Depends(Provided(SocketHub))]
) -> None:
    """Events of jobs as they happen; see the contract for the messages."""
    access: Access = socket.app.state.access
    try:
        await access.check(socket)
    except LoraManagerError as error:
        await socket.close(_REFUSED, error.code)
        return
    await socket.accept()
    subscriber = hub.join()
    prefix = str(socket.scope.get("root_path", "")).rstrip("/")
    await _send(socket, "connected", {"connection_id": str(uuid.uuid4())})
    sender = asyncio.create_task(_send_events(socket, subscriber, prefix))
    try:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            await _answer(socket, hub, subscriber, message.get("text") or "")
    except WebSocketDisconnect:  # gone while an answer was on its way
        pass
    finally:
        hub.leave(subscriber)
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sender


async def _answer(socket: WebSocket, hub: SocketHub, subscriber: Subscriber, text: str) -> None:
    try:
        message = _MESSAGES.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        await _send(
            socket,
            "error",
            {
                "code": "message_not_understood",
                "detail": f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}".strip(),
            },
        )
        return
    if isinstance(message, Ping):
        await _send(socket, "pong", {})
    elif isinstance(message, Subscribe):
        ids = None if message.job_ids is None else frozenset(message.job_ids)
        await _send(socket, "subscription_confirmed", {"job_ids": message.job_ids})
        hub.subscribe(subscriber, ids)
    else:
        subscriber.subscribed = False
        await _send(socket, "subscription_confirmed", {"job_ids": []})


async def _send_events(socket: WebSocket, subscriber: Subscriber, prefix: str) -> None:
    while True:
        for event in await subscriber.outbox.take():
            await socket.send_text(_encode(event, prefix))


def _encode(event: FeedEvent, prefix: str) -> str:
    envelope = event.envelope()
    if envelope["data"].get("images"):
        envelope["data"]["images"] = [prefix + url for url in envelope["data"]["images"]]
    return orjson.dumps(envelope).decode()


async def _send(socket: WebSocket, kind: str, data: dict[str, Any]) -> None:
    await socket.send_text(
        orjson.dumps({"type": kind, "timestamp": utc_now(), "data": data}).decode()
    )

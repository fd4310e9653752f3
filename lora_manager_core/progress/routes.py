"""Section 8 of the contract: the progress socket, and a ticket where no header can be sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from pydantic import TypeAdapter, ValidationError
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from lora_manager_core.common.clock import utc_now
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.progress.hub import SocketHub, Subscriber
from lora_manager_core.progress.schemas import ClientMessage, Ping, Subscribe, TicketAnswer
from lora_manager_core.web.access import Access, require_access
from lora_manager_core.web.deps import Provided

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/ws", tags=["progress"])

_MESSAGES: TypeAdapter[Any] = TypeAdapter(ClientMessage)
#: Policy violation, RFC 6455 section 7.4.1.
_REFUSED = 1008
#: Internal error, the same section.
_FAILED = 1011


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
    sender = asyncio.create_task(_send_events(socket, subscriber, prefix))
    try:
        await _send(socket, "connected", {"connection_id": str(uuid.uuid4())})
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
        return
    ids = None if message.job_ids is None else frozenset(message.job_ids)
    if isinstance(message, Subscribe):
        await _send(socket, "subscription_confirmed", {"job_ids": message.job_ids})
        hub.subscribe(subscriber, ids, message.include_previews)
    else:
        hub.unsubscribe(subscriber, ids)
        left = None if subscriber.job_ids is None else sorted(subscriber.job_ids)
        await _send(socket, "subscription_confirmed", {"job_ids": left})


async def _send_events(socket: WebSocket, subscriber: Subscriber, prefix: str) -> None:
    """The sender of one socket: a slow reader holds up this task and no other."""
    try:
        while True:
            message = await subscriber.outbox.take()
            await socket.send_text(message.text(prefix, subscriber.previews))
    except WebSocketDisconnect:  # the receiving side hears of it, too
        pass
    except Exception:  # noqa: BLE001 - a socket that stays open and silent would be worse
        _log.exception("a progress socket failed unexpectedly")
        await socket.close(_FAILED)


async def _send(socket: WebSocket, kind: str, data: dict[str, Any]) -> None:
    await socket.send_text(
        orjson.dumps({"type": kind, "timestamp": utc_now(), "data": data}).decode()
    )

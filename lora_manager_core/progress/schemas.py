"""The messages a client may send over the progress socket, and the ticket that opens it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lora_manager_core.common.schema import RequestModel

JobIds = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=10_000)]


class Subscribe(RequestModel):
    """Send events of these jobs (null: of all) and of no others."""

    type: Literal["subscribe"]
    job_ids: JobIds | None = None
    include_previews: bool = False


class Unsubscribe(RequestModel):
    """Send nothing more of these jobs (null: of any)."""

    type: Literal["unsubscribe"]
    job_ids: JobIds | None = None


class Ping(RequestModel):
    """Ask for a `pong`."""

    type: Literal["ping"]


ClientMessage = Annotated[Subscribe | Unsubscribe | Ping, Field(discriminator="type")]


class TicketAnswer(BaseModel):
    """A single-use ticket for `/ws/progress?ticket=…`."""

    ticket: str
    expires_in_s: float

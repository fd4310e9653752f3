"""Who is calling, where there are users: `Caller` is their name, and empty elsewhere."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from lora_manager_core.web.access import Access

#: As long as the database keeps names of users.
_LONGEST = 100


async def _caller(connection: HTTPConnection) -> str:
    access: Access = connection.app.state.access
    return access.user_of(connection)[:_LONGEST]


Caller = Annotated[str, Depends(_caller)]

"""A login cookie for browsers that hold an API key: pictures in a page cannot send headers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from lora_manager_core.web.access import SESSION_COOKIE, Access
from lora_manager_core.web.routing import guarded_router

router = guarded_router("system")


@router.post("/session", status_code=204)
async def open_session(request: Request) -> Response:
    """Set a session cookie for a caller that was let in; `HttpOnly`, for this site only."""
    access: Access = request.app.state.access
    answer = Response(status_code=204)
    answer.set_cookie(
        SESSION_COOKIE,
        access.sessions.issue(),
        max_age=int(access.sessions.lifetime_s),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer

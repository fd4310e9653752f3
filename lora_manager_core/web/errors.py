"""One error shape for every answer of the API: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lora_manager_core.errors import LoraManagerError

_log = logging.getLogger(__name__)

_HTTP_CODES = {
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
}


class ProblemResponse(Response):
    """An error document: `type, title, status, detail, code` and, for validation, `errors`."""

    media_type = "application/problem+json"

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        document = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            **(extra or {}),
        }
        super().__init__(orjson.dumps(document), status, headers=dict(headers or {}))


def problem_from(error: LoraManagerError) -> ProblemResponse:
    """The answer for one of our own errors."""
    headers = {"Retry-After": "5"} if error.status == 503 else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="LoRA manager"'
    return ProblemResponse(
        error.status, error.code, error.title, error.detail, error.extra, headers
    )


def internal_problem(error: BaseException) -> ProblemResponse:
    """The answer for a defect: a correlation id for the reader, the trace for the log."""
    correlation_id = str(uuid.uuid4())
    _log.error("unforeseen error, correlation id %s", correlation_id, exc_info=error)
    return ProblemResponse(
        500,
        "internal_error",
        "Internal error",
        f"Something went wrong on our side; the log has the details under {correlation_id}.",
        {"correlation_id": correlation_id},
    )


def validation_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `errors` member: where and what, never the input (it may be infinite, or a secret)."""
    return [
        {"loc": [str(part) for part in error["loc"]], "msg": error["msg"], "type": error["type"]}
        for error in errors
    ]


def add_error_handlers(app: FastAPI) -> None:
    """Give an app our shape for its own, validation and routing errors."""

    async def _ours(_request: Request, error: Exception) -> Response:
        assert isinstance(error, LoraManagerError)
        if error.status >= 500 and error.status != 503:
            _log.warning("%s: %s", error.code, error.detail)
        return problem_from(error)

    async def _validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = validation_errors(error.errors())
        first = errors[0] if errors else {"loc": [], "msg": "invalid request"}
        detail = f"{'.'.join(first['loc'])}: {first['msg']}".lstrip(": ")
        return ProblemResponse(422, "validation", "Invalid request", detail, {"errors": errors})

    async def _http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _HTTP_CODES.get(error.status_code, "http_error")
        return ProblemResponse(
            error.status_code,
            code,
            str(error.detail),
            str(error.detail),
            headers=error.headers,
        )

    app.add_exception_handler(LoraManagerError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


class CatchAllMiddleware:
    """Answers a defect in our shape, whatever the outer app would have made of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; if it raises before the answer began, answer for it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def _watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, _watch)
        except Exception as error:  # the border of the API: logged with its trace, then answered
            answer = internal_problem(error)
            if started:
                raise
            await answer(scope, receive, send)

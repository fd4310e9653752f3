"""The stand-alone server: the page, its modules, and the API under both prefixes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lora_manager_core.api_v1 import build_api
from lora_manager_core.bootstrap import Application
from lora_manager_core.web.access import Access
from lora_manager_core.web.errors import ProblemResponse
from lora_manager_core.web.mount import mount_politely

_PAGE = Path(__file__).with_name("web") / "page.html"
#: The page's modules and style lie beside the packages, where SD.Next wants them.
_PROJECT = Path(__file__).resolve().parents[1]


def create_app(application: Application, access: Access) -> Starlette:
    """The server's app; its lifespan starts and stops the application."""

    @asynccontextmanager
    async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_sync(application.start, True)
        yield
        await run_sync(application.stop)

    app = Starlette(
        lifespan=_lifespan,
        routes=[
            Route("/", _page),
            Route("/health", _health),
            Route("/style.css", _style),
            Mount("/javascript", _Modules(directory=_PROJECT / "javascript", check_dir=False)),
        ],
        exception_handlers={HTTPException: _problem},
    )
    mount_politely(app, build_api(application.services, access))
    return app


class _Modules(StaticFiles):
    """Files the browser asks for again each time, so that an update is seen at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _page(_request: Request) -> Response:
    return FileResponse(_PAGE, headers={"Cache-Control": "no-cache"})


async def _style(_request: Request) -> Response:
    return FileResponse(_PROJECT / "style.css", headers={"Cache-Control": "no-cache"})


async def _health(_request: Request) -> Response:
    return RedirectResponse("/v1/health")


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "http_error"
    return ProblemResponse(error.status_code, code, str(error.detail), str(error.detail))

"""Where the archive routes are: under `/import-export`, and the same without that segment."""

from __future__ import annotations

import copy

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import compile_path

#: The prefix that the routers of this feature are made with.
PREFIX = "/import-export"


def both(router: APIRouter) -> APIRouter:
    """Give every route of a router made with `PREFIX` its short form too; call it once, at the end.

    The short forms are not in the API document. They are copies of the routes as they stand:
    building each a second time would cost every start a few milliseconds.
    """
    for route in list(router.routes):
        if isinstance(route, APIRoute) and route.path.startswith(PREFIX):
            short = copy.copy(route)
            short.path = route.path[len(PREFIX) :]
            short.path_regex, short.path_format, short.param_convertors = compile_path(short.path)
            short.include_in_schema = False
            router.routes.append(short)
    return router

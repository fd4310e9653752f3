"""How routes get services: by type, from the registry that `bootstrap` fills."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import orjson
from starlette.requests import HTTPConnection
from starlette.responses import Response

_Service = TypeVar("_Service")


class ServiceRegistry:
    """The services of one process, found by their class."""

    def __init__(self) -> None:
        self._services: dict[type[Any], Any] = {}

    def add(self, service: _Service, as_type: type[_Service] | None = None) -> _Service:
        """Register an object under its class, or under `as_type`; gives the object back."""
        self._services[as_type or type(service)] = service
        return service

    def get(self, kind: type[_Service]) -> _Service:
        """The service of that class; KeyError if `bootstrap` did not build one."""
        return cast("_Service", self._services[kind])

    def __contains__(self, kind: type[Any]) -> bool:
        return kind in self._services


class Provided:
    """`Annotated[AdapterService, Depends(Provided(AdapterService))]`: that service of this app.

    A coroutine on purpose: FastAPI would send a plain function to a worker thread, per request.
    """

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind

    async def __call__(self, connection: HTTPConnection) -> Any:
        """Look the service up."""
        registry: ServiceRegistry = connection.app.state.services
        return registry.get(self._kind)


async def api_url(connection: HTTPConnection) -> str:
    """The prefix this request came under, sub-paths included, such as `/v1` or `/sd/api/v1`."""
    return str(connection.scope.get("root_path", "")).rstrip("/")


class JsonResponse(Response):
    """An answer encoded by orjson; takes what orjson takes, `Fragment` included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return orjson.dumps(content)

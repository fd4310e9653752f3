"""The v1 API as one app: every router, our error shape, our access rules. See `web.mount`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware

from lora_manager_core import __version__
from lora_manager_core.adapters.routes import router as adapters_router
from lora_manager_core.adapters.undo.routes import router as undo_router
from lora_manager_core.collections.routes import router as collections_router
from lora_manager_core.compose.routes import router as compose_router
from lora_manager_core.dashboard.routes import router as dashboard_router
from lora_manager_core.deliveries.routes import router as deliveries_router
from lora_manager_core.generation.results_routes import router as results_router
from lora_manager_core.generation.routes import router as generation_router
from lora_manager_core.import_export.backups.routes import router as backup_router
from lora_manager_core.import_export.exports.routes import router as export_router
from lora_manager_core.import_export.imports.routes import UPLOADS
from lora_manager_core.import_export.imports.routes import router as import_router
from lora_manager_core.library.alike.routes import router as alike_router
from lora_manager_core.library.files.routes import router as files_router
from lora_manager_core.library.hashing.routes import router as hashing_router
from lora_manager_core.library.lookups.routes import router as lookups_router
from lora_manager_core.library.previews.routes import LARGER
from lora_manager_core.library.previews.routes import router as previews_router
from lora_manager_core.library.routes import router as library_router
from lora_manager_core.library.side_writing.routes import router as side_files_router
from lora_manager_core.progress.routes import router as progress_router
from lora_manager_core.recommendations.answers.routes import router as answers_router
from lora_manager_core.recommendations.sets.routes import router as sets_router
from lora_manager_core.recommendations.taste.routes import router as taste_router
from lora_manager_core.recommendations.vectors.routes import router as embeddings_router
from lora_manager_core.stacks.routes import router as stacks_router
from lora_manager_core.system.routes import router as system_router
from lora_manager_core.system.routes import status_router
from lora_manager_core.web.access import Access
from lora_manager_core.web.deps import ServiceRegistry
from lora_manager_core.web.errors import CatchAllMiddleware, add_error_handlers
from lora_manager_core.web.limits import BodyLimitMiddleware, NulMiddleware
from lora_manager_core.web.session import router as session_router

_ROUTERS: tuple[APIRouter, ...] = (
    # Before `adapters_router`, whose `/adapters/{id}` would take their paths.
    library_router,
    hashing_router,
    alike_router,
    previews_router,
    lookups_router,
    side_files_router,
    files_router,
    undo_router,
    adapters_router,
    collections_router,
    stacks_router,
    compose_router,
    deliveries_router,
    generation_router,
    results_router,
    export_router,
    import_router,
    backup_router,
    answers_router,
    taste_router,
    sets_router,
    embeddings_router,
    session_router,
    dashboard_router,
    status_router,
    # These say themselves who may call.
    progress_router,
    system_router,
)


def build_api(services: ServiceRegistry, access: Access) -> FastAPI:
    """The app; `services` answers its routes, `access` decides who may call."""
    api = FastAPI(
        title="LoRA Manager",
        version=__version__,
        description="LoRA library, composition and generation for SD.Next.",
        middleware=[
            Middleware(CatchAllMiddleware),
            Middleware(BodyLimitMiddleware, uploads=UPLOADS, larger=[LARGER]),
            Middleware(NulMiddleware),
        ],
    )
    api.state.services = services
    api.state.access = access
    add_error_handlers(api)
    for router in _ROUTERS:
        api.router.routes.extend(router.routes)  # as they are, see `guarded_router`
    api.openapi = lambda: _document(api)  # type: ignore[method-assign]  # FastAPI's own way
    return api


def _document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, in which errors have the media type they really have."""
    if api.openapi_schema is None:
        document = get_openapi(
            title=api.title,
            version=api.version,
            description=api.description,
            routes=api.routes,
            servers=[{"url": "/v1"}, {"url": "/api/v1"}],
        )
        for operations in document["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    content = answer.get("content", {})
                    schema = content.get("application/json", {}).get("schema", {})
                    if schema.get("$ref", "").endswith("/Problem"):
                        content["application/problem+json"] = content.pop("application/json")
        api.openapi_schema = document
    return api.openapi_schema

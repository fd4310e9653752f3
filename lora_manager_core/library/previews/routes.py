"""`/adapters/{id}/preview`: show it, in full or small, put another in its place, take it away."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

from lora_manager_core.adapters.routes import link_preview
from lora_manager_core.adapters.schemas import AdapterAnswer
from lora_manager_core.common.schema import Problem
from lora_manager_core.library.previews.kinds import MAX_BYTES, MEDIA_TYPES
from lora_manager_core.library.previews.service import PreviewService
from lora_manager_core.web.deps import JsonResponse, Provided, api_url
from lora_manager_core.web.files import IMMUTABLE, FileAnswer
from lora_manager_core.web.routing import guarded_router

router = guarded_router("adapters", "/adapters")

#: Method and path of the requests whose body is a preview, and its limit in bytes.
LARGER = ("PUT", re.compile(r"/adapters/[^/]+/preview"), MAX_BYTES)

Service = Annotated[PreviewService, Depends(Provided(PreviewService))]
ApiUrl = Annotated[str, Depends(api_url)]
_CHECKED_EACH_TIME = "private, no-cache"
_FILE: dict[int | str, dict[str, Any]] = {
    206: {"description": "The range asked for."},
    304: {"description": "Not changed."},
    **{code: {"model": Problem} for code in (400, 404, 416)},
}
_WRITE: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 404, 409, 415, 503)
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in dict.fromkeys(MEDIA_TYPES.values())
            if kind != "image/gif"
        },
    }
}


async def _content(request: Request) -> bytes:
    """The body as it came; its length is bounded by `LARGER`."""
    return await request.body()


@router.get("/{adapter_id}/preview", responses=_FILE)
def get_preview(
    service: Service,
    adapter_id: str,
    width: Annotated[
        int | None,
        Query(
            ge=256, le=512, multiple_of=256, description="Longer side of a small copy: 256, 512."
        ),
    ] = None,
    v: Annotated[
        str | None, Query(max_length=40, description="The version in a record's `preview_url`.")
    ] = None,
) -> FileAnswer:
    """The preview picture or clip, with ranges and ETag. Of clips there are no small copies.

    Under the address in a record it never changes, and browsers need not ask again.
    """
    shown = service.show(adapter_id, width)
    return FileAnswer(shown.path, shown.media_type, IMMUTABLE if v else _CHECKED_EACH_TIME)


@router.put(
    "/{adapter_id}/preview",
    response_model=AdapterAnswer,
    responses=_WRITE,
    openapi_extra=_BODY,
)
def put_preview(
    service: Service,
    url: ApiUrl,
    adapter_id: str,
    content: Annotated[bytes, Depends(_content)],
) -> Response:
    """Write a preview beside the model, as `<name>.preview.<ending>`; at most 20 MiB.

    One that was there is kept as `<name>.preview.old1.<ending>`.
    """
    return JsonResponse({"adapter": link_preview(service.put(adapter_id, content), url)})


@router.delete("/{adapter_id}/preview", response_model=AdapterAnswer, responses=_WRITE)
def delete_preview(service: Service, url: ApiUrl, adapter_id: str) -> Response:
    """Take the preview away; a file beside the model is kept under another name."""
    return JsonResponse({"adapter": link_preview(service.remove(adapter_id), url)})

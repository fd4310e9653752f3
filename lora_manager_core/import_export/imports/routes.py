"""The part of section 7 of the contract on imports."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.import_export.imports.service import ImportService
from lora_manager_core.import_export.paths import PREFIX, both
from lora_manager_core.import_export.schemas import ImportAnswer, ImportConfig
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router
from lora_manager_core.web.uploads import ReceivedUpload, Upload

router = guarded_router("archives", PREFIX)

#: Paths whose bodies are archives, of any size that fits on the disk.
UPLOADS = (f"{PREFIX}/import", "/import")

Service = Annotated[ImportService, Depends(Provided(ImportService))]
Archives = Annotated[Upload, Depends(ReceivedUpload(("files",), ("config",)))]

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Archives: ours, LoraAPIBackend's, or zipped folders.",
                        },
                        "config": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": ImportConfig.model_json_schema(
                                ref_template="#/components/schemas/{model}"
                            ),
                            "description": "An `ImportConfig` as JSON; without it, its defaults.",
                        },
                    },
                },
                "encoding": {"config": {"contentType": "application/json"}},
            }
        },
    }
}


@router.post(
    "/import",
    response_model=ImportAnswer,
    responses={
        202: {"model": ImportAnswer},
        **{code: {"model": Problem} for code in (400, 415, 507)},
    },
    openapi_extra=_BODY,
)
def import_archives(service: Service, upload: Archives) -> Response:
    """Take archives in, each all or nothing; one that fails stops no other.

    The answer comes when all are done, or at once (202) with `background`. `success` is false if
    one failed or has conflicts that are to be decided.
    """
    config = upload.json("config", ImportConfig)
    answer = service.receive(upload, config)
    return JsonResponse(answer.model_dump(), 202 if config.background else 200)


both(router)

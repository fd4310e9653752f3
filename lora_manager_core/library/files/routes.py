"""Files of the library that people move: the bin."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.library.files.bin import FileBin
from lora_manager_core.library.files.schemas import BinContents, BinEmptied
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("library")

Bin = Annotated[FileBin, Depends(Provided(FileBin))]


@router.get("/library/bin", response_model=BinContents)
def get_bin(service: Bin) -> Response:
    """Files of deleted records, by deletion, with their sizes; undoing it brings them back."""
    return JsonResponse(service.contents())


@router.delete("/library/bin", response_model=BinEmptied)
def empty_bin(service: Bin) -> Response:
    """Delete all files in the bin for good; those deletions can no longer be undone."""
    return JsonResponse(service.empty())
